package io.github.loomgrpc;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * What holds for one call and replaces what the client was given.
 *
 * @param timeout the time for the whole call, which the provider is held to as well; empty for the
 *     client's own
 * @param metadata metadata to send, by lower-case name
 */
public record CallSettings(Optional<Duration> timeout, Map<String, String> metadata) {
  /** The client's own settings. */
  public static final CallSettings NONE = new CallSettings(Optional.empty(), Map.of());

  /** Checks the metadata; throws {@link IllegalArgumentException} for what cannot be sent. */
  public CallSettings {
    metadata = TextMetadata.checked(metadata);
  }

  /** Returns these settings with a time for the whole call. */
  public CallSettings withTimeout(Duration timeout) {
    return new CallSettings(Optional.of(timeout), metadata);
  }

  /** Returns these settings with one more entry of metadata. */
  public CallSettings withMetadata(String name, String value) {
    Map<String, String> more = new HashMap<>(metadata);
    more.putAll(TextMetadata.checked(Map.of(name, value)));
    return new CallSettings(timeout, more);
  }

  /** Names the metadata, whose values may be secret. */
  @Override
  public String toString() {
    return "CallSettings[timeout=" + timeout + ", metadata=" + metadata.keySet() + "]";
  }
}
