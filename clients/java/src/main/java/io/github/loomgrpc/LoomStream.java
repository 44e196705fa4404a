package io.github.loomgrpc;

import io.github.loomgrpc.v1.LlmEvent;
import io.github.loomgrpc.v1.LlmResponse;
import io.grpc.Metadata;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.Iterator;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * The events of one answer as they come: {@code started}, deltas, and {@code completed} as the
 * last; any other end throws {@link LoomException}, also an {@code error} event, which is not
 * handed out.
 *
 * <p>{@link #close} cancels the call, up to the provider, unless it is over; so does interrupting
 * the thread that waits for an event, which then throws {@link CancellationException}. One thread
 * reads; any may close.
 */
public final class LoomStream implements Iterator<LlmEvent>, Iterable<LlmEvent>, AutoCloseable {
  private static final Cleaner CLEANER = Cleaner.create();

  /** How long a server that has said everything may take to end the call. */
  static final long END_MS = 2_000;

  private final EventCall call;
  private final String target;
  private final Cleaner.Cleanable cancel;
  private LlmEvent next;
  private LlmResponse response;
  private volatile boolean over;

  LoomStream(EventCall call, String target) {
    this.call = call;
    this.target = target;
    // gRPC keeps a call under way alive: without this a stream that is dropped half read would hold
    // it for ever.
    this.cancel = CLEANER.register(this, call::cancel);
  }

  /** Waits for the next event; false after {@code completed} and after {@link #close}. */
  @Override
  public boolean hasNext() {
    if (next == null && !over) {
      try {
        next = read();
      } catch (InterruptedException e) {
        close();
        Thread.currentThread().interrupt();
        throw interrupted();
      } catch (LoomException e) {
        close();
        throw e;
      }
    }
    return next != null;
  }

  /** Waits for the next event and returns it. */
  @Override
  public LlmEvent next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    LlmEvent event = next;
    next = null;
    return event;
  }

  /** Returns this stream, whose events can be had once. */
  @Override
  public Iterator<LlmEvent> iterator() {
    return this;
  }

  /** Returns the rest of the events as a {@link Stream}; closing that closes this. */
  public Stream<LlmEvent> events() {
    int kind = Spliterator.ORDERED | Spliterator.NONNULL;
    return StreamSupport.stream(Spliterators.spliteratorUnknownSize(this, kind), false)
        .onClose(this::close);
  }

  /** Returns the whole answer, once {@code completed} has come. */
  public Optional<LlmResponse> response() {
    return Optional.ofNullable(response);
  }

  /**
   * Waits for the beginning of the answer and returns its metadata, such as {@code loom-ratelimit}.
   */
  public Map<String, String> headers() {
    return wait(call.headers, Function.identity());
  }

  /**
   * Waits for the end of the call and returns what the server tells there, such as {@code
   * loom-request-id}; a call ends when its events have been read, or by {@link #close}.
   */
  public Map<String, String> trailers() {
    return wait(call.end, EventCall.End::trailers);
  }

  /**
   * Cancels the call unless it is over; there are no more events then. Has no effect when repeated.
   */
  @Override
  public void close() {
    over = true;
    cancel.clean();
  }

  /** Returns the next event, or null when there is none. */
  private LlmEvent read() throws InterruptedException {
    if (response != null) {
      call.end(END_MS); // so that the server does not take the call for cancelled
      close();
      return null;
    }
    EventCall.Item item = call.take();
    if (over) { // closed meanwhile
      return null;
    }
    if (item instanceof EventCall.End end) {
      throw Failure.of(null, end, target);
    }
    LlmEvent event = ((EventCall.Event) item).event();
    if (event.hasError()) {
      throw Failure.of(event.getError(), call.end(END_MS), target);
    }
    if (event.hasCompleted()) {
      response = event.getCompleted().getResponse();
    }
    return event;
  }

  private <T> Map<String, String> wait(CompletableFuture<T> coming, Function<T, Metadata> where) {
    try {
      return TextMetadata.of(where.apply(coming.get()));
    } catch (InterruptedException e) {
      close();
      Thread.currentThread().interrupt();
      throw interrupted();
    } catch (ExecutionException e) {
      throw new IllegalStateException(e); // nothing completes these so
    } finally {
      Reference.reachabilityFence(this);
    }
  }

  static CancellationException interrupted() {
    return new CancellationException("The thread was interrupted, and the call cancelled.");
  }
}
