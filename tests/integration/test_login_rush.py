# SPDX-License-Identifier: ISC
"""Many logins at once: each gets in, whoever is at work goes on, whoever leaves in the middle harms nobody."""

from concurrent.futures import ThreadPoolExecutor

from wire import Client, query, special, startup

SSL_REQUEST = special(80877103)
N_LOGINS = 60


def test_a_rush_of_logins_over_tls(pgpoold, certs):
    daemon = pgpoold(auth_type="scram-sha-256", client_tls_sslmode="allow", client_tls_key_file=certs.server_key,
                     client_tls_cert_file=certs.server, max_client_conn=500)

    def log_in(n):
        return daemon.psql(f"SELECT {n}", sslmode="require") == [(n,)]

    with daemon.connect() as at_work, ThreadPoolExecutor(N_LOGINS) as pool:
        logins = [pool.submit(log_in, n) for n in range(N_LOGINS)]
        n_queries = 0
        while n_queries == 0 or not all(login.done() for login in logins):
            assert at_work.execute("SELECT 1").fetchone() == (1,)
            n_queries += 1
        assert all(login.result() for login in logins)


def test_who_leaves_in_the_middle_of_a_rush(pgpoold, eventually):
    daemon = pgpoold(pool_mode="transaction", auth_type="trust", max_client_conn=1000)
    clients = [Client.connect(daemon.host, daemon.port) for _ in range(300)]
    for n, client in enumerate(clients):
        client.send(SSL_REQUEST if n % 3 == 1 else startup({"user": "app", "database": "test"}))
    for client in clients[::2]:
        client.close()
    for n, client in enumerate(clients):
        if n % 2 == 1 and n % 3 != 1:
            client.read_until("Z")
            client.send(query("SELECT 7"))
            assert client.result().rows == [("7",)]
    for client in clients[1::2]:
        client.close()
    eventually(lambda: not [c for c in daemon.show("clients") if c["database"] != "pgbouncer"])
    assert daemon.psql("SELECT 1") == [(1,)]
