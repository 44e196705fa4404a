/** What goes out beside a request, and comes back beside an answer. */

import { ConnectError, type Interceptor } from "@connectrpc/connect";

/** Metadata by name, as text. */
export type Metadata = Readonly<Record<string, string>>;

/** Returns the metadata of every call; throws `TypeError` for what cannot be sent, without repeating it. */
export function ownMetadata(apiKey: string | undefined, extra: Metadata = {}): Metadata {
  if (apiKey === undefined) {
    return checked(extra);
  }
  if (!/^[!-~]+$/.test(apiKey)) {
    throw new TypeError("apiKey: must be printable ASCII without spaces or line breaks");
  }
  return { authorization: `Bearer ${apiKey}`, ...checked(extra) };
}

/** Writes names in lower case; throws `TypeError` for what gRPC does not carry as text. */
export function checked(metadata: Metadata): Metadata {
  for (const [name, value] of Object.entries(metadata)) {
    if (!/^[A-Za-z0-9_.-]+$/.test(name) || name.toLowerCase().endsWith("-bin")) {
      throw new TypeError(`metadata: ${JSON.stringify(name)} is not a name for text`);
    }
    if (!/^[ -~]*$/.test(value)) {
      throw new TypeError(`metadata: the value of ${name} must be printable ASCII`);
    }
  }
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name.toLowerCase(), value]));
}

/** Sends metadata with every call of a transport; what a call has itself comes first. */
export function sending(metadata: Metadata): Interceptor {
  return (next) => (request) => {
    for (const [name, value] of Object.entries(metadata)) {
      if (!request.header.has(name)) {
        request.header.set(name, value);
      }
    }
    return next(request);
  };
}

/** Returns the metadata of an answer, without what belongs to the protocols and what is not text. */
export function texts(headers: Headers): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => !OF_PROTOCOL.test(name)));
}

/** Returns the trailing metadata of a failed call, whose error has what came at the beginning of the answer too. */
export function trailersOf(failure: unknown, header = new Headers()): Record<string, string> {
  if (!(failure instanceof ConnectError)) {
    return {};
  }
  const all = Object.entries(texts(failure.metadata));
  return Object.fromEntries(all.filter(([name, value]) => header.get(name) !== value));
}

const OF_PROTOCOL = /^(grpc-(status|message|encoding|accept-encoding)|content-type|.*-bin)$/;
