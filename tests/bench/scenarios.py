# SPDX-License-Identifier: ISC
"""What is measured, and against which target. Nothing here runs anything.

Targets are ratios to PgBouncer 1.25 of the pooler's CPU time per unit. `lean` says how much of 1.25's
cost PgBouncer 1.18 has in that work; beside a 1.18 the target becomes target / lean."""
from dataclasses import dataclass, field

LEAN = 0.93  # 1.18 is 5-10 % leaner than 1.25 where nothing better is known
MB = 1000000


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    mode: str = "simple"
    clients: int = 16
    database: str = "p20"          # pool of that many server connections
    peer_database: str = ""        # where PgBouncer needs another pool for the same job
    instance: str = "main"         # which ini file: main, scram, verifier, ec
    args: tuple = ()               # more for loadgen
    unit: str = "tx"               # tx, mb or delivery
    target: float = 0.0
    lean: float = LEAN
    syscalls: float = 0.0          # target per unit
    instructions: float = 0.0      # target per unit
    trace: bool = False            # count syscalls
    profile: int = 0               # count instructions over so many transactions
    others: tuple = ()             # "haproxy", "floor", "direct"
    tls: bool = False
    unix: bool = False
    quick: bool = False
    count: int = 0                 # transactions instead of a duration
    stretch: int = 1               # this many times the usual duration
    together: bool = False         # load, pooler and server on one CPU: no idle CPU to be woken
    size: int = 0
    note: str = ""
    against: str = ""              # the scenario whose peer it is held against, when not its own


BOTH = ("haproxy", "direct")
ALL = ("haproxy", "floor", "direct")


def sized(name, what, mode, target, **more):
    """A 200 MB transfer by one client (50 MB in the quick run): CPU per MB."""
    return Scenario(name, what, mode=mode, clients=1, unit="mb", target=target, lean=1.0, count=1,
                    size=200 * MB, **more)


QUERIES = [
    Scenario("simple_1", "one client, one loop's round trip", clients=1, database="p10", others=BOTH,
             together=True),
    Scenario("simple_16", "simple queries", target=0.88, syscalls=4.1, instructions=1500, trace=True,
             profile=2000, others=ALL, quick=True),
    Scenario("extended_16", "Parse/Bind/Describe/Execute/Sync", mode="extended", target=0.82,
             trace=True, profile=2000, others=ALL, quick=True),
    Scenario("prepared_16", "named statement, Bind/Describe/Execute/Sync", mode="prepared",
             target=0.70, lean=0.68, syscalls=4.1, trace=True, profile=2000, others=ALL, quick=True,
             peer_database="p20_lax",  # lean: 1.18's pass-through costs what extended does
             note="before 1.21 PgBouncer passes names through unread: not the same job"),
    Scenario("begin_16", "BEGIN; query; COMMIT", mode="begin", target=0.90, trace=True, profile=1000,
             others=("haproxy", "floor"), quick=True),
    Scenario("pipeline_16", "pipelines of 16 extended queries", mode="pipeline", args=("--depth", "16"),
             others=("haproxy",), profile=4000),
    Scenario("simple_32", "32 clients on 10 servers", clients=32, database="p10"),
    Scenario("extended_32", "the same, extended", mode="extended", clients=32, database="p10"),
    Scenario("prepared_32", "the same, prepared", mode="prepared", clients=32, database="p10",
             peer_database="p10_lax"),
    Scenario("simple_500", "500 clients on 10 servers", clients=500, database="p10"),
    Scenario("extended_500", "the same, extended", mode="extended", clients=500, database="p10"),
    Scenario("prepared_500", "the same, prepared", mode="prepared", clients=500, database="p10",
             peer_database="p10_lax"),
    Scenario("queue_200", "200 clients on 20 servers", clients=200, target=0.68, syscalls=4.1,
             trace=True, profile=3000, others=("floor",), quick=True),
    Scenario("fair_500", "500 clients on 20 servers, 1 ms queries", mode="fairness", clients=500,
             stretch=3, target=0.72, trace=True, others=("floor",), quick=True),
    Scenario("fair_500_on_10", "500 clients on 10 servers, 1 ms queries", mode="fairness",
             clients=500, database="p10", stretch=3),
    Scenario("tls_simple_16", "simple queries, client TLS", target=0.88, lean=0.92, tls=True,
             trace=True, quick=True),
    Scenario("unix_16", "simple queries, Unix sockets both sides", database="u20", unix=True,
             target=0.88, lean=0.89, quick=True),
]

TRANSFERS = [
    sized("big", "one large result", "big", 0.20, trace=True, others=BOTH, quick=True),
    sized("copyout", "COPY TO STDOUT", "copyout", 0.20, others=("haproxy",)),
    sized("copyin", "COPY FROM STDIN", "copyin", 0.22, trace=True, others=("haproxy",), quick=True),
    sized("big_tls", "one large result, client TLS", "big", 0.0, tls=True),
    sized("copyout_tls", "COPY TO STDOUT, client TLS", "copyout", 0.0, tls=True),
    sized("copyin_tls", "COPY FROM STDIN, client TLS", "copyin", 0.0, tls=True),
]

LOGINS = [
    Scenario("connect_trust", "connect, query, close", mode="connect", target=0.92, syscalls=14,
             trace=True, profile=300, others=BOTH, quick=True),
    Scenario("connect_scram", "the same, SCRAM, clear passwords in the userlist", mode="connect",
             instance="scram", target=0.72, lean=40.0, trace=True, quick=True),
    Scenario("connect_verifier", "the same, SCRAM, verifiers in the userlist", mode="connect",
             instance="verifier"),
    Scenario("connect_tls_rsa", "the same, TLS, RSA-2048", mode="connect", tls=True, target=0.72,
             lean=0.77, trace=True, quick=True),
    Scenario("connect_tls_ec", "the same, TLS, EC P-256", mode="connect", instance="ec", tls=True,
             target=0.62, lean=0.70),
    Scenario("connect_tls_resumed", "the same, TLS, resumed sessions", mode="connect", tls=True,
             args=("--tls-resume",), target=0.35, lean=0.77, against="connect_tls_rsa"),
]

NOTIFY = [
    Scenario("notify_100", "one NOTIFY to 100 listeners", mode="notify", clients=100, unit="delivery",
             peer_database="session", note="PgBouncer needs session pooling: a server each"),
]

BESIDE_CLIENTS = 5000
BESIDE = Scenario("beside_idle", "simple queries beside 5,000 idle clients", target=0.88)

WORK = QUERIES + TRANSFERS + LOGINS + NOTIFY


@dataclass(frozen=True)
class Memory:
    name: str
    what: str
    clients: int
    target: int = 0                # bytes per client
    args: tuple = field(default=())
    tls: bool = False
    unix: bool = False
    quick: bool = False


MEMORY = [
    Memory("idle_1000", "1,000 idle clients", 1000, target=400, quick=True),
    Memory("idle_1000_used", "the same after a query each", 1000, target=400, quick=True,
           args=("--query", "SELECT 1")),
    Memory("idle_1000_unix", "1,000 idle clients, Unix", 1000, target=400, unix=True),
    Memory("idle_1000_tls", "1,000 idle clients, TLS", 1000, target=15600, tls=True),
    Memory("idle_10000", "10,000 idle clients", 10000, target=400),
    Memory("idle_10000_unix", "10,000 idle clients, Unix", 10000, target=400, unix=True),
    Memory("idle_10000_tls", "10,000 idle clients, TLS", 10000, target=15600, tls=True),
]
IDLE_CPU_TARGET = 50               # microseconds of CPU a second with BESIDE_CLIENTS


@dataclass(frozen=True)
class PgBench:
    name: str
    what: str
    args: tuple
    quick: bool = False
    needs_prepared: bool = False   # PgBouncer from 1.21 on only


PGBENCH = [
    PgBench("pgbench_select", "pgbench -S, 16 on 8 servers", ("-S", "-M", "simple"), quick=True),
    PgBench("pgbench_extended", "pgbench -S -M extended", ("-S", "-M", "extended")),
    PgBench("pgbench_prepared", "pgbench -S -M prepared", ("-S", "-M", "prepared"),
            needs_prepared=True),
    PgBench("pgbench_tpcb", "pgbench, TPC-B", ("-N", "-M", "simple")),
]
