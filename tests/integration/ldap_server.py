# SPDX-License-Identifier: ISC
"""A real LDAP server for one test run: OpenLDAP's slapd, as an ordinary process on random ports, with TLS."""

import base64
import pathlib
import shutil
import subprocess

from account import Port, as_server_account, give_all, make_dir
from waiting import PATIENCE, Hopeless, eventually

SLAPD = shutil.which("slapd", path="/usr/sbin:/usr/lib/openldap:/usr/libexec:/usr/bin")
MODULES = "/usr/lib/ldap"
SUFFIX = "dc=example,dc=net"
READER = ("cn=reader,dc=example,dc=net", "reader-secret")

CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
pidfile {home}/pid
TLSCACertificateFile {certs.ca}
TLSCertificateFile {certs.server}
TLSCertificateKeyFile {certs.server_key}
{more}
database mdb
suffix "{suffix}"
directory {home}/data
rootdn "cn=admin,{suffix}"
rootpw admin-secret
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""

TREE = """
dn: dc=example,dc=net
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,dc=example,dc=net
objectClass: organizationalUnit
ou: people

dn: ou=others,dc=example,dc=net
objectClass: organizationalUnit
ou: others

dn: cn=reader,dc=example,dc=net
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-secret
"""


class LdapServer:
    """.uri .tls_uri .port .tls_port; .add(dn, password, **attributes); .log; .stop()."""

    host = "127.0.0.1"

    def __init__(self, home, certs, more=""):
        assert SLAPD, "slapd is not there: packaging/deps.sh test"
        self.home = pathlib.Path(make_dir(home))
        make_dir(self.home / "data")
        self.certs = certs
        self._ports = [Port(), Port()]
        self.port, self.tls_port = (p.number for p in self._ports)
        self.uri = f"ldap://{self.host}:{self.port}"
        self.tls_uri = f"ldaps://{self.host}:{self.tls_port}"
        self.conf = self.home / "slapd.conf"
        self.conf.write_text(CONFIG.format(home=self.home, certs=certs, suffix=SUFFIX, modules=MODULES, more=more))
        (self.home / "tree.ldif").write_text(TREE)
        give_all(self.home)
        subprocess.run(as_server_account([SLAPD, "-T", "add", "-f", self.conf, "-l", self.home / "tree.ldif"]),
                       cwd="/", check=True, capture_output=True)
        self.log_path = self.home / "log"
        self.process = None
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                as_server_account([SLAPD, "-f", self.conf, "-h", f"{self.uri} {self.tls_uri}", "-d", "stats"],
                                  death_signal="KILL"),
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        eventually(self._answers, "slapd answers", timeout=30)

    def _answers(self):
        if self.process.poll() is not None:
            raise Hopeless(f"slapd ended with {self.process.returncode}: {self.log[-2000:]}")
        return subprocess.run(["ldapsearch", "-x", "-H", self.uri, "-b", "", "-s", "base", "-LLL"],
                              check=False, capture_output=True).returncode == 0

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(PATIENCE)

    def close(self):
        self.stop()
        for port in self._ports:
            port.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def add(self, dn, password, uid, **attributes):
        """A person; @password "": has none."""
        values = {"dn": dn, "objectClass": "inetOrgPerson", "uid": uid, "sn": uid, "cn": uid} | attributes
        if password:
            values["userPassword"] = password
        lines = [f"{name}:: {base64.b64encode(value.encode()).decode()}" for name, value in values.items()]
        subprocess.run(["ldapadd", "-x", "-H", self.uri, "-D", f"cn=admin,{SUFFIX}", "-w", "admin-secret"],
                       input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
