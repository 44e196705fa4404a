package io.github.loomgrpc.conformance;

import com.google.gson.annotations.SerializedName;
import com.google.protobuf.MessageLite;
import io.github.loomgrpc.LoomException;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;

/** A line of what came of a case. */
final class Outcome {
  final String name;
  String response;
  List<String> events;
  Failure error;
  boolean cancelled;
  Map<String, String> trailers = Map.of();

  @SerializedName("elapsed_ms")
  double elapsedMs;

  Outcome(String name) {
    this.name = name;
  }

  /** The part of the line that tells of an error. */
  record Failure(
      String reason,
      String message,
      @SerializedName("retry_after_ms") Long retryAfterMs,
      Map<String, String> metadata,
      String partial) {
    static Failure of(LoomException failure) {
      return new Failure(
          failure.reasonName(),
          failure.getMessage(),
          failure.retryAfter().map(Duration::toMillis).orElse(null),
          failure.metadata(),
          failure.partial().map(Outcome::base64).orElse(null));
    }
  }

  /** A line that says why the runner could not carry a case out. */
  record Impossible(String name, String failed) {}

  void add(MessageLite event) {
    events.add(base64(event));
  }

  static String base64(MessageLite message) {
    return Base64.getEncoder().encodeToString(message.toByteArray());
  }
}
