package io.github.loomgrpc;

import io.grpc.Metadata;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

/** Metadata as names and texts. */
final class TextMetadata {
  private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_.-]+");
  private static final Pattern VALUE = Pattern.compile("[ -~]*");
  private static final Pattern KEY = Pattern.compile("[!-~]+");

  private TextMetadata() {}

  /**
   * Writes names in lower case, as gRPC demands; refuses what gRPC would fail on, without repeating
   * a value.
   */
  static Map<String, String> checked(Map<String, String> metadata) {
    Map<String, String> checked = new TreeMap<>();
    metadata.forEach(
        (name, value) -> {
          String lower = name.toLowerCase(Locale.ROOT);
          if (!NAME.matcher(name).matches() || lower.endsWith(Metadata.BINARY_HEADER_SUFFIX)) {
            throw new IllegalArgumentException("metadata: \"" + name + "\" is not a name for text");
          }
          if (!VALUE.matcher(value).matches()) {
            throw new IllegalArgumentException(
                "metadata: the value of " + name + " must be printable ASCII");
          }
          checked.put(lower, value);
        });
    return Map.copyOf(checked);
  }

  /**
   * Makes the value of {@code authorization}; refuses what cannot be sent, without repeating it.
   */
  static String bearer(String apiKey) {
    if (apiKey == null) {
      throw new IllegalArgumentException("apiKey: is null; set the variable that it comes from");
    }
    if (!KEY.matcher(apiKey).matches()) {
      throw new IllegalArgumentException(
          "apiKey: must be printable ASCII without spaces or line breaks");
    }
    return "Bearer " + apiKey;
  }

  /** Adds what the metadata does not have yet. */
  static void addMissing(Metadata metadata, Map<String, String> texts) {
    texts.forEach(
        (name, value) -> {
          if (!metadata.containsKey(key(name))) {
            metadata.put(key(name), value);
          }
        });
  }

  /**
   * Returns the entries that are text; grpc-java also hands out what HTTP/2 writes there when a
   * proxy answers.
   */
  static Map<String, String> of(Metadata metadata) {
    Map<String, String> texts = new TreeMap<>();
    for (String name : metadata.keys()) {
      if (!name.endsWith(Metadata.BINARY_HEADER_SUFFIX) && !name.startsWith(":")) {
        texts.put(name, metadata.get(key(name)));
      }
    }
    return texts;
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
