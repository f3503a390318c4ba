// SPDX-License-Identifier: ISC
// JDBC against a pooler: java -cp postgresql.jar Session.java URL SERVERS
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

public class Session {
    static String url;

    static void check(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    static int one(Statement st, String sql) throws SQLException {
        try (ResultSet rs = st.executeQuery(sql)) {
            rs.next();
            return rs.getInt(1);
        }
    }

    static void prepared() throws Exception {
        try (Connection a = DriverManager.getConnection(url); Connection b = DriverManager.getConnection(url)) {
            for (int turn = 0; turn < 12; turn++) { // the driver prepares by name from the fifth time on, in binary
                for (Connection c : List.of(a, b)) {
                    try (PreparedStatement ps = c.prepareStatement("SELECT ?::int + 1, ?::text, ?::timestamptz")) {
                        ps.setInt(1, turn);
                        ps.setString(2, "naïve");
                        ps.setTimestamp(3, new Timestamp(0));
                        try (ResultSet rs = ps.executeQuery()) {
                            check(rs.next() && rs.getInt(1) == turn + 1 && rs.getString(2).equals("naïve")
                                && rs.getTimestamp(3).getTime() == 0, "row");
                        }
                    }
                }
            }
        }
    }

    static void transactions() throws Exception {
        try (Connection c = DriverManager.getConnection(url); Statement st = c.createStatement()) {
            st.execute("DROP TABLE IF EXISTS jdbc_t");
            st.execute("CREATE TABLE jdbc_t (id serial, t text)");
            c.setAutoCommit(false);
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            st.execute("INSERT INTO jdbc_t (t) VALUES ('kept')");
            Savepoint s = c.setSavepoint();
            try {
                st.execute("SELECT 1/0");
                check(false, "no error");
            } catch (SQLException e) {
                check(e.getSQLState().equals("22012"), e.getSQLState());
            }
            c.rollback(s);
            c.commit();
            st.execute("DELETE FROM jdbc_t");
            c.rollback();
            check(one(st, "SELECT count(*) FROM jdbc_t") == 1, "count");
            c.commit();
        }
    }

    static void batchesAndKeys() throws Exception {
        try (Connection c = DriverManager.getConnection(url)) {
            try (PreparedStatement ps = c.prepareStatement("INSERT INTO jdbc_t (t) VALUES (?)",
                    Statement.RETURN_GENERATED_KEYS)) {
                for (int i = 0; i < 500; i++) {
                    ps.setString(1, "row " + i);
                    ps.addBatch();
                }
                check(ps.executeBatch().length == 500, "batch");
                int keys = 0;
                for (ResultSet rs = ps.getGeneratedKeys(); rs.next(); keys++) {
                }
                check(keys == 500, "keys");
            }
            c.setAutoCommit(false);
            try (PreparedStatement ps = c.prepareStatement("SELECT id FROM jdbc_t")) {
                ps.setFetchSize(50); // a portal that stays open
                int rows = 0;
                for (ResultSet rs = ps.executeQuery(); rs.next(); rows++) {
                }
                check(rows == 501, "rows " + rows);
            }
            c.commit();
        }
    }

    static void copyAndMetadata() throws Exception {
        try (Connection c = DriverManager.getConnection(url); Statement st = c.createStatement()) {
            org.postgresql.copy.CopyManager copy = c.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
            long n = copy.copyIn("COPY jdbc_t (t) FROM STDIN", new java.io.StringReader("x\n".repeat(10000)));
            check(n == 10000, "copied " + n);
            java.io.StringWriter out = new java.io.StringWriter();
            check(copy.copyOut("COPY jdbc_t TO STDOUT", out) == 10501, "copied out");
            try (ResultSet rs = c.getMetaData().getColumns(null, "public", "jdbc_t", "%")) {
                check(rs.next() && rs.getString("COLUMN_NAME").equals("id"), "metadata");
            }
            st.execute("DROP TABLE jdbc_t");
            check(c.isValid(5), "valid");
        }
    }

    static void cancelAndTimeout() throws Exception {
        try (Connection c = DriverManager.getConnection(url); Statement st = c.createStatement()) {
            st.setQueryTimeout(1);
            try {
                st.execute("SELECT pg_sleep(60)");
                check(false, "no timeout");
            } catch (SQLException e) {
                check(e.getSQLState().equals("57014"), e.getSQLState());
            }
            check(one(st, "SELECT 1") == 1, "usable");
        }
    }

    static void threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(10);
        List<Future<Integer>> results = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            final int n = i;
            results.add(pool.submit(() -> {
                try (Connection c = DriverManager.getConnection(url); Statement st = c.createStatement()) {
                    return one(st, "SELECT " + n + " FROM pg_sleep(0.01)");
                }
            }));
        }
        for (int i = 0; i < 20; i++) {
            check(results.get(i).get() == i, "thread " + i);
        }
        pool.shutdown();
    }

    public static void main(String[] args) throws Exception {
        url = args[0];
        prepared();
        transactions();
        batchesAndKeys();
        copyAndMetadata();
        cancelAndTimeout();
        threads();
        System.out.println("ok");
    }
}
