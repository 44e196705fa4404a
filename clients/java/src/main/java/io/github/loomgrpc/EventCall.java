package io.github.loomgrpc;

import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmRequest;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * A call under way, and what has come of it and was not taken yet. It does not know the {@link
 * LoomStream} that reads it, so that one that nobody holds can be found out.
 */
final class EventCall extends ClientCall.Listener<LlmEvent> {
  /** What comes of a call: events, and one end. */
  sealed interface Item permits Event, End {}

  record Event(LlmEvent event) implements Item {}

  record End(Status status, Metadata trailers) implements Item {}

  /** How many events may wait here; more wait at the server. */
  private static final int AHEAD = 16;

  final CompletableFuture<Metadata> headers = new CompletableFuture<>();
  final CompletableFuture<End> end = new CompletableFuture<>();

  private final BlockingQueue<Item> items = new LinkedBlockingQueue<>();
  private final ClientCall<LlmRequest, LlmEvent> call;

  EventCall(ClientCall<LlmRequest, LlmEvent> call) {
    this.call = call;
  }

  void start(LlmRequest request) {
    call.start(this, new Metadata());
    call.sendMessage(request);
    call.halfClose();
    call.request(AHEAD);
  }

  /** Waits for the next event or the end, which nothing follows. */
  Item take() throws InterruptedException {
    Item item = items.take();
    if (item instanceof Event) {
      call.request(1);
    }
    return item;
  }

  /**
   * Waits for the end of a call that has nothing more to say, but not for a server that keeps it
   * open.
   */
  End end(long timeoutMs) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeoutMs);
    call.request(1);
    while (true) {
      Item item = items.poll(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
      if (item instanceof End it) {
        return it;
      }
      if (item == null) {
        return new End(Status.OK, new Metadata());
      }
    }
  }

  void cancel() {
    call.cancel("The caller left.", null);
  }

  @Override
  public void onHeaders(Metadata metadata) {
    headers.complete(metadata);
  }

  @Override
  public void onMessage(LlmEvent event) {
    items.add(new Event(event));
  }

  @Override
  public void onClose(Status status, Metadata trailers) {
    End last = new End(status, trailers);
    headers.complete(new Metadata());
    end.complete(last);
    items.add(last);
  }
}
