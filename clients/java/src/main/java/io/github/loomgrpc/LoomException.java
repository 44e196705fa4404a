package io.github.loomgrpc;

import io.github.loomgrpc.v1.ErrorReason;
import io.github.loomgrpc.v1.LlmResponse;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** A call that failed: why, in words for people, and what is known beside them. */
public final class LoomException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private static final String PREFIX = "ERROR_REASON_";

  private final ErrorReason reason;
  private final transient Map<String, String> metadata;
  private final Duration retryAfter;
  private final LlmResponse partial;

  LoomException(
      ErrorReason reason,
      String message,
      Duration retryAfter,
      Map<String, String> metadata,
      LlmResponse partial,
      Throwable cause) {
    super(message, cause);
    this.reason = reason;
    this.retryAfter = retryAfter;
    this.metadata = Map.copyOf(metadata);
    this.partial = partial;
  }

  /** Returns why the call failed. */
  public ErrorReason reason() {
    return reason;
  }

  /** Returns the name of the reason, such as {@code PROVIDER_RATE_LIMITED}. */
  public String reasonName() {
    return name(reason);
  }

  /** Returns how long to wait before asking again, where that is known. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /**
   * Returns what else is known, such as {@code request_id}, {@code field} or {@code provider};
   * {@code target} and {@code grpc_code} where the failure is not a loom-grpc server's own.
   */
  public Map<String, String> metadata() {
    return metadata == null ? Map.of() : metadata;
  }

  /** Returns what had arrived before the failure; never a whole answer. */
  public Optional<LlmResponse> partial() {
    return Optional.ofNullable(partial);
  }

  @Override
  public String toString() {
    return getClass().getName() + ": " + reasonName() + ": " + getMessage();
  }

  static String name(ErrorReason reason) {
    return reason.name().substring(PREFIX.length());
  }
}
