package io.github.loomgrpc;

import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmRequest;
import io.github.loomgrpc.v1.TextDelta;

/** Short ways to write what tests ask and expect. */
final class Events {
  private Events() {}

  static LlmEvent text(String content) {
    return LlmEvent.newBuilder().setTextDelta(TextDelta.newBuilder().setContent(content)).build();
  }

  static LlmRequest request(String model, String prompt) {
    return LlmRequest.newBuilder()
        .setProvider("mock")
        .setModel(model)
        .addMessages(Messages.user(prompt))
        .build();
  }
}
