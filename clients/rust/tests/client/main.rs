//! The client against the real server and against servers that misbehave, over real sockets.

mod broken;
mod call;
mod fake;
mod message;
mod real;
mod stream;
