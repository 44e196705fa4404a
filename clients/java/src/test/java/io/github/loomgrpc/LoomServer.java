package io.github.loomgrpc;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The real server, with the mock provider; {@code LOOM_TEST_PROGRAM} in the environment names its
 * program.
 */
final class LoomServer implements AutoCloseable {
  private static final Pattern ADDRESS = Pattern.compile("^ +gRPC +(\\S+)");

  static final String ADMIN_KEY = adminKey();

  final String target;
  private final Process process;

  private LoomServer(Process process, String target) {
    this.process = process;
    this.target = target;
  }

  /** Starts a server in a folder of its own and waits until it serves. */
  static LoomServer start(Path folder) throws IOException {
    String program = System.getenv("LOOM_TEST_PROGRAM");
    ProcessBuilder builder =
        new ProcessBuilder(program, "serve", "--grpc-address", "127.0.0.1:0", "--no-http")
            .directory(folder.toFile())
            .redirectError(folder.resolve("log").toFile());
    // What is set where the tests run, LOOM_ names above all, is not for this server.
    builder.environment().keySet().retainAll(Set.of("PATH", "LANG"));
    builder.environment().put("HOME", folder.toString());
    builder.environment().put("LOOM_ADMIN__API_KEY", ADMIN_KEY);
    Process process = builder.start();
    var lines =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      Matcher found = ADDRESS.matcher(line);
      if (found.find()) {
        return new LoomServer(process, found.group(1));
      }
    }
    throw new IllegalStateException(Files.readString(folder.resolve("log")));
  }

  private static String adminKey() {
    byte[] random = new byte[24];
    new SecureRandom().nextBytes(random);
    return "la_" + Base64.getUrlEncoder().encodeToString(random);
  }

  @Override
  public void close() {
    process.destroy();
  }
}
