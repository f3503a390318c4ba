# SPDX-License-Identifier: ISC
"""What several tests do with clients and servers: pools of a known size, who has which server, watching PostgreSQL."""

import collections
import os
import threading
import time

import psycopg

from waiting import eventually

SLEEPS = "SELECT pg_sleep(1000)"


def one_database(pg, **keys):
    """A [databases] section with test and test2 on @pg; keys of the entries are @keys."""
    more = "".join(f" {k}={v}" for k, v in keys.items())
    return {name: f"host={pg.host} port={pg.port}{more}" for name in ("test", "test2")}


def backend_pid(client):
    """Process id of the server connection that a raw client has just now."""
    return int(client.run("SELECT pg_backend_pid()")[0][0])


def alternating(pgpoold, pg, **more):
    """A daemon in transaction mode whose two servers take turns: each transaction runs on the other one."""
    options = {"pool_mode": "transaction", "default_pool_size": 2, "min_pool_size": 2, "server_round_robin": 1, **more}
    daemon = pgpoold(**options)
    with daemon.connect():
        eventually(lambda: servers(daemon, "idle") == 2, "both servers are there")
    return daemon


def begin(client, sql="SELECT 1"):
    """The client holds a server connection from now on."""
    client.run("BEGIN")
    client.run(sql)
    return client


def error_of(client, sql):
    """The one error that @sql ends with."""
    result = client.query(sql)
    assert len(result.errors) == 1, f"{sql}: {result.kinds}"
    return result.errors[0]


def servers(daemon, *states, **where):
    """How many server connections SHOW SERVERS has in one of @states (all without)."""
    return sum(not states or row["state"] in states for row in daemon.show("servers", **where))


def clients(daemon, *states, **where):
    return sum(not states or row["state"] in states for row in daemon.show("clients", database="test", **where))


def running(pg, sql):
    """The backends that run @sql now."""
    return [row for row in pg.activity() if row["state"] == "active" and row["query"] == sql]


def wait_running(pg, sql, n=1):
    return eventually(lambda: len(found := running(pg, sql)) >= n and found, f"{n} backends run {sql!r}")


def wait_waiting(daemon, n=1, **where):
    """Until @n clients are in the queue."""
    return eventually(lambda: sum(row["cl_waiting"] for row in daemon.show("pools", **where)) == n,
                      f"{n} clients wait")


class Storm:
    """Many threads that run work(connection number) until it is stopped; what they raised is in .errors."""

    def __init__(self, n, work):
        self.errors = []
        self.rounds = 0
        self._stop = threading.Event()
        self._work = work
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(n)]

    def _run(self, number):
        while not self._stop.is_set():
            try:
                self._work(number)
                self.rounds += 1
            except Exception as problem:  # pylint: disable=broad-except  # for the test to judge
                self.errors.append(problem)
                time.sleep(0.01)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


class Watch:
    """Looks at pg_stat_activity all the time: .most is the highest number of client connections to a database that it saw in ten
    looks in a row. Less tells nothing: a backend whose connection is closed is listed until it has ended. Nor do those of the
    test before, which may be asleep for a while."""

    def __init__(self, pg, database="test"):
        self.most = 0
        self.looks = 0
        self._seen = collections.deque(maxlen=10)
        self._database = database
        self._since = pg.test_began
        self._conn = psycopg.connect(pg.dsn("postgres", "postgres"), autocommit=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        sql = ("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = %s"
               " AND (%s::timestamptz IS NULL OR backend_start >= %s)")
        while not self._stop.wait(0.005):
            self._seen.append(self._conn.execute(sql, (self._database, self._since, self._since)).fetchone()[0])
            self.looks += 1
            if len(self._seen) == self._seen.maxlen:
                self.most = max(self.most, min(self._seen))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._conn.close()


def cpu_seconds(daemon):
    """What the daemon has used of the processor until now, all its threads. Unlike time it does not depend on who else runs."""
    with open(f"/proc/{daemon.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kb(daemon):
    """Resident memory of the daemon now, VmRSS."""
    with open(f"/proc/{daemon.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
