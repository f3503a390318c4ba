#!/usr/bin/perl
# SPDX-License-Identifier: ISC
# DBD::Pg against a pooler, whose place PGHOST, PGPORT and the like tell.
use strict;
use warnings;
use DBI;
use DBD::Pg qw(:async);

sub new_connection {
    return DBI->connect('dbi:Pg:', $ENV{PGUSER}, $ENV{PGPASSWORD}, { RaiseError => 1, PrintError => 0, @_ });
}

sub check {
    my ($ok, $what) = @_;
    die "failed: $what\n" unless $ok;
}

# Placeholders are prepared on the server by name: dbdpg_p123_1.
my @both = map { new_connection() } 1 .. 2;
for my $turn (1 .. 10) {
    for my $i (0, 1) {
        my $sth = $both[$i]->prepare_cached("SELECT ?::int + $i, ?::text");
        $sth->execute($turn, 'x');
        my @row = $sth->fetchrow_array;
        $sth->finish;
        check($row[0] == $turn + $i && $row[1] eq 'x', "turn $turn of $i");
    }
}

my $dbh = new_connection(AutoCommit => 0);
$dbh->do('CREATE TABLE perl_t (id serial, t text)');
$dbh->commit;
$dbh->do('INSERT INTO perl_t (t) VALUES (?)', undef, 'kept');
$dbh->pg_savepoint('s');
check(!eval { $dbh->do('SELECT 1/0'); 1 } && $dbh->state eq '22012', 'error');
$dbh->pg_rollback_to('s');
$dbh->commit;
$dbh->do('DELETE FROM perl_t');
$dbh->rollback;
check($dbh->selectrow_array('SELECT count(*) FROM perl_t') == 1, 'rollback');

$dbh->do('COPY perl_t (t) FROM STDIN');
$dbh->pg_putcopydata("row $_\n") for 1 .. 5000;
$dbh->pg_putcopyend;
$dbh->commit;
$dbh->do('COPY perl_t TO STDOUT');
my ($line, $n) = ('', 0);
$n++ while $dbh->pg_getcopydata($line) >= 0;
check($n == 5001, "copied $n");
check((grep { /perl_t/ } $dbh->tables(undef, 'public', '%', 'TABLE')) == 1, 'tables');
$dbh->do('DROP TABLE perl_t');
$dbh->commit;

my $busy = new_connection();
$busy->do('SELECT pg_sleep(60)', { pg_async => PG_ASYNC });
check(!$busy->pg_ready, 'running');
$busy->pg_cancel;
check($busy->selectrow_array('SELECT 42') == 42, 'usable after a cancel');

$_->disconnect for @both, $dbh, $busy;
print "ok\n";
