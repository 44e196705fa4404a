/** What a failed call means. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/loom_grpc/v1/error_pb.js";
import type { Error as ErrorEvent, LlmResponse } from "./gen/loom_grpc/v1/llm_service_pb.js";

/** The name of an `ErrorReason`. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;

/** What is known of a failure beside its reason and message. */
export interface ErrorDetails {
  retryAfterMs?: number | undefined;
  metadata?: Readonly<Record<string, string>>;
  partial?: LlmResponse | undefined;
  cause?: unknown;
}

/** A failed call. */
export class LoomError extends Error {
  /** Why the call failed, such as `PROVIDER_RATE_LIMITED`. */
  readonly reason: Reason;
  /** How long to wait before another try, in milliseconds; undefined when it is not known. */
  readonly retryAfterMs: number | undefined;
  /** What else is known: `request_id`, `field`, `provider`, or `target` and `grpc_code` where the failure is not a loom-grpc server's. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What had arrived of an answer that broke off; never a complete one. */
  readonly partial: LlmResponse | undefined;

  constructor(reason: Reason, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.reason = reason;
    this.retryAfterMs = details.retryAfterMs;
    this.metadata = details.metadata ?? {};
    this.partial = details.partial;
  }

  override get name(): string {
    return "LoomError";
  }

  /** The reason as the contract numbers it. */
  get reasonNumber(): ErrorReason {
    return ErrorReason[this.reason];
  }
}

/** Reads what a failed call says; without the details of a loom-grpc server the reason follows from the status code. */
export function loomError(failure: unknown, target: string): LoomError {
  const error = ConnectError.from(failure);
  const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
  if (info === undefined || !isReason(info.reason)) {
    return bareError(error, target);
  }
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return new LoomError(info.reason, error.rawMessage, {
    retryAfterMs: delay && durationMs(delay),
    metadata: info.metadata,
    cause: error,
  });
}

/** Makes the error of an `error` event; what the RPC then failed with says more than the event does. */
export function reportedError(event: ErrorEvent, status: unknown): LoomError {
  const name = ErrorReason[event.reason];
  const reason = name !== undefined && isReason(name) ? name : "INTERNAL";
  const same = status instanceof LoomError && status.reason === reason ? status : undefined;
  return new LoomError(reason, event.message, {
    retryAfterMs: event.retryAfter && durationMs(event.retryAfter),
    metadata: same?.metadata ?? {},
    partial: event.partial,
    cause: same?.cause,
  });
}

const DOMAIN = "loom-grpc";

function isReason(name: string): name is Reason {
  return name !== "UNSPECIFIED" && Object.hasOwn(ErrorReason, name) && Number.isNaN(Number(name));
}

type Meaning = readonly [Reason, (target: string, details: string) => string];

/** What a status means that comes from the transport itself or from a proxy on the way. */
const MEANINGS: Readonly<Partial<Record<Code, Meaning>>> = {
  [Code.Canceled]: [
    "PROVIDER_UNAVAILABLE",
    (target, details) => `The server at ${target} cancelled the call (${details}).`,
  ],
  [Code.DeadlineExceeded]: ["PROVIDER_TIMEOUT", () => "The answer did not come within the time limit."],
  [Code.InvalidArgument]: [
    "INVALID_REQUEST",
    (target, details) => `The server at ${target} refused the request (${details}).`,
  ],
  [Code.PermissionDenied]: [
    "PERMISSION_DENIED",
    (target, details) => `The server at ${target} refused the caller (${details}).`,
  ],
  [Code.ResourceExhausted]: [
    "RATE_LIMITED",
    (target, details) => `The server at ${target} refused the call (${details}).`,
  ],
  [Code.Unauthenticated]: [
    "UNAUTHENTICATED",
    (target, details) => `The server at ${target} wants credentials (${details}).`,
  ],
  [Code.Unavailable]: [
    "PROVIDER_UNAVAILABLE",
    (target, details) => `There is no connection to the server at ${target} (${details}).`,
  ],
  [Code.Unimplemented]: [
    "INTERNAL",
    (target, details) => `The server at ${target} does not have this method (${details}).`,
  ],
};
const OTHER: Meaning = ["INTERNAL", (target, details) => `The call to the server at ${target} failed (${details}).`];
const TOO_LARGE: Meaning = ["INVALID_REQUEST", (_, details) => `A message or its metadata is too large (${details}).`];
/** What this and the other side say of that, with a status that they also have for other things. */
const TOO_LARGE_WORDS = /larger than (max|configured)|metadata size exceeds|HTTP 413/;

function bareError(error: ConnectError, target: string): LoomError {
  const code = codeOf(error);
  const [reason, text] = TOO_LARGE_WORDS.test(error.rawMessage) ? TOO_LARGE : (MEANINGS[code] ?? OTHER);
  const metadata = { target, grpc_code: codeName(code) };
  return new LoomError(reason, text(target, error.rawMessage.trim() || "no details"), { metadata, cause: error });
}

/** Names a code as gRPC does (grpc.github.io/grpc/core/md_doc_statuscodes.html, seen 2026-11-21). */
function codeName(code: Code): string {
  return code === Code.Canceled ? "CANCELLED" : Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

/** Tells what Node.js, browsers and Connect report in words of their own from what a server says. */
function codeOf(error: ConnectError): Code {
  if (isOfConnection(error.cause)) {
    return Code.Unavailable;
  }
  // Connect calls an answer that is not framed as it should be an invalid argument, as if the request were wrong.
  return error.rawMessage.startsWith("protocol error") ? Code.Internal : error.code;
}

function isOfConnection(cause: unknown): boolean {
  if (cause instanceof TypeError) {
    return true; // what `fetch` fails with, before and during an answer (fetch.spec.whatwg.org, seen 2026-11-21)
  }
  return cause instanceof Error && "code" in cause && typeof cause.code === "string";
}
