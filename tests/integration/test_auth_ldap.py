# SPDX-License-Identifier: ISC
"""auth_type = ldap, and ldap in HBA rules: simple bind and search+bind, StartTLS and ldaps, against a real slapd."""

import contextlib
import re
import socket
import threading

import pytest

from cluster import USERS
from ldap_server import READER, SUFFIX, LdapServer
from waiting import PATIENCE, eventually
from wire import Client, ServerError, password_message

LOGIN = USERS["app"][1]
PEOPLE = f"ou=people,{SUFFIX}"
WRONG = ("28P01", "password authentication failed", ["R", "E"])
# Names that mean something in a DN or a filter; each is a person of its own.
STRANGE = ["a*b", "a(b)", "a\\b", "a,b", "a+b", 'a"b', "a=b", "a;b", "a<b>", "#ab", " ab", "cd ", "a/b", "\u00e4b"]


@pytest.fixture(scope="module")
def slapd(worker_dir, certs):
    server = LdapServer(worker_dir / "ldap", certs)
    server.add(f"uid=app,{PEOPLE}", LOGIN, "app", mail="app@example.net")
    server.add(f"uid=other,{PEOPLE}", "other-secret", "other", mail="other@example.net")
    server.add(f"uid=elsewhere,ou=others,{SUFFIX}", "elsewhere-secret", "elsewhere")
    server.add(f"uid=twin,{PEOPLE}", "twin-secret", "twin")
    server.add(f"uid=twin,ou=others,{SUFFIX}", "twin-secret", "twin")
    server.add(f"uid=nopassword,{PEOPLE}", "", "nopassword")
    for name in STRANGE:
        server.add(f"uid={hexed(name)},{PEOPLE}", "strange-secret", name)
    yield server
    server.close()


def hexed(name):
    """@name as a value in a DN, each byte by its number."""
    return "".join(f"\\{byte:02X}" for byte in name.encode())


@pytest.fixture
def ldap(pgpoold, slapd, certs):
    """ldap(options, **more): a daemon with auth_ldap_options; {url}, {tls}, {port}, {tlsport} are slapd's."""
    def make(options, ca=None, **more):
        text = options
        for name, value in {"url": slapd.uri, "tls": slapd.tls_uri, "port": slapd.port,
                            "tlsport": slapd.tls_port}.items():
            text = text.replace("{%s}" % name, str(value))
        more.setdefault("auth_type", "ldap")
        if more["auth_type"] == "hba":
            more["hba"] = more["hba"].replace("{options}", text)
        else:
            more["auth_ldap_options"] = text
        return pgpoold(env={"LDAPTLS_CACERT": str(ca or certs.ca), "LDAPCONF": "/dev/null"}, **more)

    return make


SIMPLE = f'ldapserver=127.0.0.1 ldapport={{port}} ldapprefix="uid=" ldapsuffix=",{PEOPLE}"'
SEARCH = f'ldapurl="{{url}}/{SUFFIX}?uid?sub"'
WAYS = {
    "simple": SIMPLE,
    "search": f'ldapserver=127.0.0.1 ldapport={{port}} ldapbasedn="{SUFFIX}"',
    "search by url": SEARCH,
    "search one level": f'ldapurl="{{url}}/{PEOPLE}?uid?one"',
    "search by another attribute": f'ldapserver=127.0.0.1 ldapport={{port}} ldapbasedn="{SUFFIX}" '
                                   'ldapsearchattribute=cn',
    "search as a reader": f'{SEARCH} ldapbinddn="{READER[0]}" ldapbindpasswd={READER[1]}',
    "filter": f'ldapserver=127.0.0.1 ldapport={{port}} ldapbasedn="{SUFFIX}" '
              'ldapsearchfilter="(|(uid=$username)(mail=$username))"',
    "filter in the url": f'ldapurl="{{url}}/{SUFFIX}??sub?(%26(objectClass=inetOrgPerson)(uid=$username))"',
    "the first of two servers is down": f'ldapserver="127.0.0.1:1 127.0.0.1:{{port}}" ldapbasedn="{SUFFIX}"',
    "ldaps": f'ldapscheme=ldaps ldapserver=127.0.0.1 ldapport={{tlsport}} ldapprefix="uid=" ldapsuffix=",{PEOPLE}"',
    "ldaps by url": f'ldapurl="{{tls}}/{SUFFIX}?uid?sub"',
    "StartTLS": SIMPLE + " ldaptls=1",
    "StartTLS and search": SEARCH + " ldaptls=1",
}


def failure(daemon, user="app", password="wrong", database="test"):
    with Client.connect(daemon.host, daemon.port) as client:
        with pytest.raises(ServerError) as caught:
            client.login(user, database, password)
        return caught.value.code, caught.value.text, [m.kind for m in client.login_messages]


def is_right(daemon, user, password):
    """Did LDAP like it? PostgreSQL does not know the user: then the failure is its own."""
    return failure(daemon, user, password) != WRONG


# ---------------------------------------------------------------------------------- right and wrong

@pytest.mark.parametrize("way", WAYS)
def test_a_right_password_gets_in_and_opens_the_server_connection(ldap, way):
    daemon = ldap(WAYS[way], userlist={"admin": "x"})
    assert daemon.psql("SELECT current_user") == [("app",)]


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_password_and_an_unknown_user_look_the_same(ldap, way):
    daemon = ldap(WAYS[way], databases={"test": "host=127.0.0.1 port=1"})
    assert failure(daemon) == WRONG
    assert failure(daemon, "nobody") == WRONG
    assert failure(daemon, "app", "other-secret") == WRONG
    assert failure(daemon, "app", database="nowhere") == WRONG
    assert failure(daemon, "nobody", database="nowhere") == WRONG


def test_with_the_right_password_an_unknown_database_is_named(ldap):
    daemon = ldap(SIMPLE, databases={"test": "host=127.0.0.1 port=1"})
    assert failure(daemon, "app", LOGIN, "nowhere")[:2] == ("3D000", "no such database: nowhere")


@pytest.mark.parametrize("way", ["simple", "search", "filter"])
def test_an_empty_password_never_gets_in(ldap, slapd, way):
    """LDAP servers take a bind without a password for one of nobody, and say yes."""
    daemon = ldap(WAYS[way])
    before = len(slapd.log)
    for user in ("app", "nopassword", "nobody"):
        assert failure(daemon, user, "") == WRONG
    assert "BIND" not in slapd.log[before:]


def test_the_search_ends_at_its_base_and_scope(ldap):
    people = ldap(f'ldapurl="{{url}}/{PEOPLE}?uid?sub"', databases={"test": "host=127.0.0.1 port=1"})
    assert failure(people, "elsewhere", "elsewhere-secret") == WRONG
    top = ldap(f'ldapurl="{{url}}/{SUFFIX}?uid?one"', databases={"test": "host=127.0.0.1 port=1"})
    assert failure(top, "app", LOGIN) == WRONG
    base = ldap(f'ldapurl="{{url}}/uid=app,{PEOPLE}?uid"', databases={"test": "host=127.0.0.1 port=1"})
    assert is_right(base, "app", LOGIN) and failure(base, "other", "other-secret") == WRONG


def test_several_entries_are_as_good_as_none(ldap):
    daemon = ldap(SEARCH)
    assert failure(daemon, "twin", "twin-secret") == WRONG
    daemon.wait_log("test/twin@.* LDAP search found several entries for the user")


def test_a_filter_may_name_the_user_twice(ldap):
    daemon = ldap(WAYS["filter"], databases={"test": "host=127.0.0.1 port=1"})
    assert is_right(daemon, "app@example.net", LOGIN)
    assert not is_right(daemon, "other@example.net", LOGIN)


def test_the_name_of_nobody_is_searched_for_anew_each_time(ldap, slapd):
    """A user who does not exist costs a bind as well."""
    daemon = ldap(SEARCH)
    before = len(slapd.log)
    assert failure(daemon, "nobody") == WRONG
    assert len(re.findall(r" BIND dn=", slapd.log[before:])) == 2


def test_no_password_is_ever_logged(ldap):
    daemon = ldap(WAYS["search as a reader"], verbose=2)
    failure(daemon, password="very-wrong-indeed")
    daemon.psql("SELECT 1")
    daemon.wait_log(r"test/app@127.0.0.1:\d+ LDAP bind as the user failed: Invalid credentials")
    for password in ("very-wrong-indeed", LOGIN, READER[1]):
        assert password not in daemon.log


def test_a_wrong_password_of_the_reader_is_not_the_users_fault(ldap):
    daemon = ldap(f'{SEARCH} ldapbinddn="{READER[0]}" ldapbindpasswd=wrong')
    unavailable = ("08006", "the password cannot be checked at the moment", ["R", "E"])
    assert failure(daemon, "app", LOGIN) == unavailable
    assert failure(daemon, "nobody", LOGIN) == unavailable
    daemon.wait_log("LDAP bind for the search failed: Invalid credentials")


# ---------------------------------------------------------------------------------- names that mean something

@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_just_names(ldap, name):
    for way in ("simple", "search", "filter"):
        daemon = ldap(WAYS[way], databases={"test": "host=127.0.0.1 port=1"})
        assert is_right(daemon, name, "strange-secret"), way
        assert not is_right(daemon, name, "wrong"), way


@pytest.mark.parametrize("name", ["*", "ap*", "app)(uid=*", "*)(uid=*))(|(uid=*", "app)", "(app", "app\\2a", "a\\70p",
                                  "nobody)(|(uid=app", "app,ou=people", f"app,{PEOPLE}", "other+uid=app", "app\\",
                                  "x)(objectClass=*", "app\x01", "app\n", "$username"])
@pytest.mark.parametrize("way", ["simple", "search", "filter", "filter in the url"])
def test_nobody_becomes_somebody_by_the_name_he_gives(ldap, way, name):
    daemon = ldap(WAYS[way], databases={"test": "host=127.0.0.1 port=1"})
    for password in (LOGIN, "other-secret"):
        assert failure(daemon, name, password) == WRONG


# ---------------------------------------------------------------------------------- TLS

@pytest.mark.parametrize("way", ["ldaps", "StartTLS", "StartTLS and search"])
def test_a_server_of_another_authority_is_not_asked(ldap, slapd, certs, way):
    daemon = ldap(WAYS[way], ca=certs.other_ca)
    before = len(slapd.log)
    assert failure(daemon, "app", LOGIN)[:2] == ("08006", "the password cannot be checked at the moment")
    assert "BIND" not in slapd.log[before:]


def test_a_server_of_another_name_is_not_asked(ldap, slapd):
    daemon = ldap(f'ldapserver=127.0.0.2 ldapport={slapd.port} ldaptls=1 ldapprefix="uid=" ldapsuffix=",{PEOPLE}"')
    assert failure(daemon, "app", LOGIN)[0] == "08006"


def test_a_server_that_wants_tls_gets_no_password_without(worker_dir, certs, ldap):
    server = LdapServer(worker_dir / "ldap_strict", certs, more="security simple_bind=128")
    try:
        tls = f'ldapserver=127.0.0.1 ldapport={server.port} ldaptls=%d ldapprefix="uid=" ldapsuffix=",{PEOPLE}"'
        assert failure(ldap(tls % 0), "app", LOGIN)[0] == "08006"
        assert failure(ldap(tls % 1), "app", LOGIN) == WRONG  # nobody of that name, but it was asked
    finally:
        server.close()


# ---------------------------------------------------------------------------------- HBA

def test_rules_of_the_hba_file(ldap):
    daemon = ldap(SEARCH, auth_type="hba", hba="host all app all ldap {options}\nhost all all all scram-sha-256\n")
    assert daemon.psql("SELECT 1") == [(1,)]
    assert failure(daemon) == WRONG
    assert daemon.admin("SHOW VERSION")


def test_a_rule_without_options_takes_those_of_auth_ldap_options(ldap, slapd):
    daemon = ldap("", auth_type="hba", hba="host all app all ldap\nhost all all all scram-sha-256\n",
                  auth_ldap_options=SIMPLE.replace("{port}", str(slapd.port)))
    assert daemon.psql("SELECT 1") == [(1,)]


def test_a_reload_brings_other_options(ldap, slapd):
    daemon = ldap(f'ldapurl="{{url}}/ou=others,{SUFFIX}?uid?sub"', admin_users="admin,elsewhere")
    assert failure(daemon, "app", LOGIN) == WRONG
    daemon.change({"auth_ldap_options": SEARCH.replace("{url}", slapd.uri)})
    daemon.admin("RELOAD", user="elsewhere", password="elsewhere-secret")
    assert daemon.psql("SELECT 1") == [(1,)]


# ---------------------------------------------------------------------------------- a server that does not answer

def test_a_server_that_is_down(ldap):
    daemon = ldap(f'ldapserver=127.0.0.1 ldapport=1 ldapbasedn="{SUFFIX}"')
    assert failure(daemon, "app", LOGIN)[:2] == ("08006", "the password cannot be checked at the moment")
    daemon.wait_log("LDAP .*Can't contact LDAP server")


@pytest.fixture
def silent():
    """Accepts connections and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1], taken
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE)
    for sock in taken:
        sock.close()


SILENT_WAYS = {
    "simple": 'ldapserver=127.0.0.1 ldapport={} ldapprefix="uid=" ldapsuffix=",dc=x"',
    "search": 'ldapserver=127.0.0.1 ldapport={} ldapbasedn="dc=x"',
    "StartTLS": 'ldapserver=127.0.0.1 ldapport={} ldapbasedn="dc=x" ldaptls=1',
    "ldaps": 'ldapscheme=ldaps ldapserver=127.0.0.1 ldapport={} ldapbasedn="dc=x"',
}


@pytest.mark.parametrize("way", SILENT_WAYS)
def test_a_silent_server_costs_no_more_than_the_time_of_the_login(ldap, silent, way):
    """Neither the client nor the thread waits longer: the connections to LDAP end too."""
    port, taken = silent
    daemon = ldap("{options}", auth_type="hba", client_login_timeout=2,
                  hba=f"host all app all ldap {SILENT_WAYS[way].format(port)}\nhost all all all scram-sha-256\n")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client.connect(daemon.host, daemon.port)) for _ in range(6)]
        for client in clients:
            client.send_startup("app", "test")
            client.expect("R")
            client.send(password_message(LOGIN))
        assert daemon.admin("SHOW VERSION")
        for client in clients:
            assert client.expect("E").text in ("client_login_timeout", "the password cannot be checked at the moment")
    eventually(lambda: len(taken) >= 4)
    for sock in taken[:4]:
        sock.settimeout(PATIENCE)
        while sock.recv(4096):
            pass


def test_the_daemon_ends_while_ldap_is_silent(ldap, silent):
    port, taken = silent
    daemon = ldap(SILENT_WAYS["simple"].format(port))
    with Client.connect(daemon.host, daemon.port) as client:
        client.send_startup("app", "test")
        client.expect("R")
        client.send(password_message(LOGIN))
        eventually(lambda: taken)
        daemon.signal(3)
        daemon.wait_exit(timeout=30)  # half of client_login_timeout


# ---------------------------------------------------------------------------------- wrong configuration

@pytest.mark.parametrize("options, fault", [
    ("ldapserver=h", "how to find a user is not told"),
    ("ldapprefix=uid=", "ldap without a server"),
    ('ldapserver=h ldapprefix=uid= ldapbasedn="dc=x"', "ldapprefix and ldapsuffix are for a bind without a search"),
    ("ldapserver=h ldapbasedn=dc=x ldapport=0", "ldapport: not a port"),
    ("ldapurl=http://h/dc=x", "ldapurl: unknown scheme"),
    ("ldapserver=h ldapbasedn=dc=x ldapsearchfilter=(uid=app)", "ldapsearchfilter: finds the same for everybody"),
])
def test_wrong_options_are_told_at_the_start(pgpoold, options, fault):
    daemon = pgpoold(auth_type="ldap", auth_ldap_options=options, wait=False)
    daemon.wait_exit(1)
    assert re.search(rf"pgpoold.ini:\d+: auth_ldap_options: {fault}", daemon.log)
    daemon = pgpoold(hba=f"host all all all ldap {options}\n", wait=False)
    daemon.wait_exit(1)
    assert re.search(rf"hba.conf:1: {fault}", daemon.log)
