// SPDX-License-Identifier: ISC
// pgjdbc as its documentation listens: java -cp postgresql.jar Listen.java URL
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class Listen {
    public static void main(String[] args) throws Exception {
        try (Connection l = DriverManager.getConnection(args[0]); Connection n = DriverManager.getConnection(args[0])) {
            PGConnection listener = l.unwrap(PGConnection.class);
            PGConnection notifier = n.unwrap(PGConnection.class);
            List<String> heard = new ArrayList<>();
            try (Statement st = l.createStatement()) {
                st.execute("LISTEN mymessage");
            }
            for (int i = 0; i < 4; i++) {
                try (Statement st = n.createStatement()) {
                    st.execute("NOTIFY mymessage, '" + i + "'");
                }
            }
            while (heard.size() < 4) {
                PGNotification[] notifications = listener.getNotifications(60000);
                if (notifications == null || notifications.length == 0) {
                    throw new AssertionError("nothing came after " + heard);
                }
                for (PGNotification each : notifications) {
                    if (each.getPID() != notifier.getBackendPID()) {
                        throw new AssertionError("pid " + each.getPID());
                    }
                    heard.add(each.getName() + " " + each.getParameter());
                }
            }
            System.out.println(heard);
        }
    }
}
