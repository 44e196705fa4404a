/**
 * The client of loom-grpc: asks any large language model behind a loom-grpc server. Begin at {@link
 * io.github.loomgrpc.LoomClient}; what goes over the wire is in {@code io.github.loomgrpc.v1}.
 */
package io.github.loomgrpc;
