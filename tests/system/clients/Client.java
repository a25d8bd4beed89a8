// Client DATABASE JOURNAL_MODE STATEMENTS ROWS: sqlite-jdbc.
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;

public class Client {
  public static void main(String[] args) throws Exception {
    int rows = Integer.parseInt(args[3]);
    try (Connection db = DriverManager.getConnection("jdbc:sqlite:" + args[0]);
         Statement statement = db.createStatement()) {
      statement.execute("PRAGMA busy_timeout = 20000");
      statement.execute("PRAGMA journal_mode = " + args[1]);
      for (String line : Files.readAllLines(Path.of(args[2]))) statement.execute(line);
      try (PreparedStatement insert = db.prepareStatement("INSERT INTO t(a, b) VALUES (?, ?)")) {
        for (String kind : new String[] {"bound ", "batch "}) {
          if (kind.equals("batch ")) db.setAutoCommit(false);
          for (int i = 1; i <= rows; ++i) {
            insert.setInt(1, i);
            insert.setString(2, kind + i);
            insert.executeUpdate();
          }
        }
        db.commit();
        db.setAutoCommit(true);
      }
      try (ResultSet row = statement.executeQuery("SELECT count(*), sum(a), sum(length(b)) FROM t")) {
        row.next();
        System.out.println(row.getLong(1) + "|" + row.getLong(2) + "|" + row.getLong(3));
      }
    }
  }
}
