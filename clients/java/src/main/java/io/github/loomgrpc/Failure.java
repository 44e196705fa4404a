package io.github.loomgrpc;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.github.loomgrpc.v1.Error;
import io.github.loomgrpc.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Reads what a failed call means. */
final class Failure {
  private static final String DOMAIN = "loom-grpc";
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private static final Map<String, ErrorReason> REASONS =
      Arrays.stream(ErrorReason.values())
          .filter(Failure::isKnown)
          .collect(Collectors.toUnmodifiableMap(LoomException::name, Function.identity()));

  /** What gRPC says of sizes, on either side, with a status that it also has for other things. */
  private static final List<String> TOO_LARGE =
      List.of("larger than max", "exceeds maximum size", "message too large", "size exceed");

  private Failure() {}

  /** Reads a status; without a loom-grpc server's details the reason follows from the code. */
  static LoomException of(Status status, Metadata trailers, String target) {
    List<Any> details = details(trailers);
    ErrorInfo info = find(details, ErrorInfo.class).orElse(ErrorInfo.getDefaultInstance());
    ErrorReason reason = REASONS.get(info.getReason());
    if (reason == null || !info.getDomain().equals(DOMAIN)) {
      return ofCode(status, trailers, target);
    }
    Duration retryAfter =
        find(details, RetryInfo.class).map(it -> duration(it.getRetryDelay())).orElse(null);
    return new LoomException(
        reason,
        Objects.requireNonNullElse(status.getDescription(), ""),
        retryAfter,
        info.getMetadataMap(),
        null,
        status.asRuntimeException(trailers));
  }

  /**
   * Reads how a stream ended without an answer, after an {@code error} event or, for null, without
   * one.
   */
  static LoomException of(Error event, EventCall.End end, String target) {
    if (event != null) {
      return ofEvent(event, end, target);
    }
    return end.status().isOk() ? incomplete() : of(end.status(), end.trailers(), target);
  }

  /** The status that follows an event knows more than the event does. */
  private static LoomException ofEvent(Error event, EventCall.End end, String target) {
    ErrorReason reason =
        isKnown(event.getReason()) ? event.getReason() : ErrorReason.ERROR_REASON_INTERNAL;
    LoomException status = end.status().isOk() ? null : of(end.status(), end.trailers(), target);
    boolean agree = status != null && status.reason() == reason;
    return new LoomException(
        reason,
        event.getMessage(),
        event.hasRetryAfter() ? duration(event.getRetryAfter()) : null,
        agree ? status.metadata() : Map.of(),
        event.hasPartial() ? event.getPartial() : null,
        status);
  }

  private static LoomException incomplete() {
    return new LoomException(
        ErrorReason.ERROR_REASON_PROVIDER_BAD_RESPONSE,
        "The server's answer ended without being complete.",
        null,
        Map.of(),
        null,
        null);
  }

  private static LoomException ofCode(Status outer, Metadata trailers, String target) {
    Status status = inner(outer);
    String said = said(status);
    boolean tooLarge = TOO_LARGE.stream().anyMatch(said::contains);
    Meaning meaning = tooLarge ? Meaning.TOO_LARGE : Meaning.of(status.getCode());
    return new LoomException(
        meaning.reason,
        meaning.text.replace("{target}", target).replace("{said}", said),
        null,
        Map.of("target", target, "grpc_code", status.getCode().name()),
        null,
        status.asRuntimeException(trailers));
  }

  /** What a status means that comes from gRPC itself or from a proxy on the way. */
  private record Meaning(ErrorReason reason, String text) {
    static final Meaning TOO_LARGE =
        new Meaning(
            ErrorReason.ERROR_REASON_INVALID_REQUEST,
            "A message or its metadata is too large ({said}).");

    static Meaning of(Status.Code code) {
      return switch (code) {
        case CANCELLED ->
            new Meaning(
                ErrorReason.ERROR_REASON_PROVIDER_UNAVAILABLE,
                "The server at {target} cancelled the call ({said}).");
        case DEADLINE_EXCEEDED ->
            new Meaning(
                ErrorReason.ERROR_REASON_PROVIDER_TIMEOUT,
                "The answer did not come within the time limit.");
        case INVALID_ARGUMENT ->
            new Meaning(
                ErrorReason.ERROR_REASON_INVALID_REQUEST,
                "The server at {target} refused the request ({said}).");
        case PERMISSION_DENIED ->
            new Meaning(
                ErrorReason.ERROR_REASON_PERMISSION_DENIED,
                "The server at {target} refused the caller ({said}).");
        case RESOURCE_EXHAUSTED ->
            new Meaning(
                ErrorReason.ERROR_REASON_RATE_LIMITED,
                "The server at {target} refused the call ({said}).");
        case UNAUTHENTICATED ->
            new Meaning(
                ErrorReason.ERROR_REASON_UNAUTHENTICATED,
                "The server at {target} wants credentials ({said}).");
        case UNAVAILABLE ->
            new Meaning(
                ErrorReason.ERROR_REASON_PROVIDER_UNAVAILABLE,
                "There is no connection to the server at {target} ({said}).");
        case UNIMPLEMENTED ->
            new Meaning(
                ErrorReason.ERROR_REASON_INTERNAL,
                "The server at {target} does not have this method ({said}).");
        default ->
            new Meaning(
                ErrorReason.ERROR_REASON_INTERNAL,
                "The call to the server at {target} failed ({said}).");
      };
    }
  }

  /** Returns why gRPC cancelled a call by itself, as it does for a message too large to send. */
  private static Status inner(Status status) {
    return status.getCode() == Status.Code.CANCELLED
            && status.getCause() instanceof StatusRuntimeException failure
        ? failure.getStatus()
        : status;
  }

  /** Returns gRPC's words, and those of what is behind them, such as a refused connection. */
  private static String said(Status status) {
    String description = Objects.requireNonNullElse(status.getDescription(), "no details");
    // A proxy's page and its headers come after this, for pages.
    String first = description.split("\nheaders: ", 2)[0].replace('\n', ' ');
    return Stream.iterate(status.getCause(), Objects::nonNull, Throwable::getCause)
        .map(Throwable::getMessage)
        .filter(Objects::nonNull)
        .reduce((outer, inner) -> inner)
        // What gRPC says there is about its own insides.
        .map(root -> first.startsWith("io exception") ? root : first + ": " + root)
        .orElse(first);
  }

  private static List<Any> details(Metadata trailers) {
    byte[] details = trailers.get(DETAILS);
    if (details == null) {
      return List.of();
    }
    try {
      return com.google.rpc.Status.parseFrom(details).getDetailsList();
    } catch (InvalidProtocolBufferException e) { // another program's details
      return List.of();
    }
  }

  private static <T extends Message> Optional<T> find(List<Any> details, Class<T> type) {
    for (Any detail : details) {
      try {
        if (detail.is(type)) {
          return Optional.of(detail.unpack(type));
        }
      } catch (InvalidProtocolBufferException e) { // named so, but something else
        return Optional.empty();
      }
    }
    return Optional.empty();
  }

  private static boolean isKnown(ErrorReason reason) {
    return reason != ErrorReason.UNRECOGNIZED && reason != ErrorReason.ERROR_REASON_UNSPECIFIED;
  }

  private static Duration duration(com.google.protobuf.Duration duration) {
    return Duration.ofSeconds(duration.getSeconds(), duration.getNanos());
  }
}
