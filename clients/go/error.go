package loom

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/loom-grpc/loom-grpc/clients/go/loompb"
)

// Error is a failed call: why, in words for people, and what is known beside them. [errors.As] finds it. PROVIDER_TIMEOUT is a
// [context.DeadlineExceeded] too, whether it was the caller's limit or one of the server's that ran out.
type Error struct {
	// Reason tells failures apart; it is never ERROR_REASON_UNSPECIFIED.
	Reason loompb.ErrorReason
	// Message says what happened and what to do.
	Message string
	// Metadata has request_id and, for example, field or provider; target and grpc_code when the failure is not a loom-grpc server's.
	Metadata map[string]string
	// Partial is what arrived before the failure of a stream, if anything did; never a complete answer.
	Partial *loompb.LlmResponse

	retryAfter *time.Duration
	status     *status.Status
}

// Error returns the reason's name and the message.
func (e *Error) Error() string {
	return e.Name() + ": " + e.Message
}

// Name returns the name of the reason as the errors table of the documentation has it, such as PROVIDER_RATE_LIMITED.
func (e *Error) Name() string {
	return strings.TrimPrefix(e.Reason.String(), reasonPrefix)
}

// RetryAfter returns how long to wait before asking again; false when that is not known.
func (e *Error) RetryAfter() (time.Duration, bool) {
	if e.retryAfter == nil {
		return 0, false
	}
	return *e.retryAfter, true
}

// GRPCStatus returns the status that the call ended with, for what reads errors of gRPC; nil when it ended with none.
func (e *Error) GRPCStatus() *status.Status {
	return e.status
}

// Is tells that a PROVIDER_TIMEOUT is a [context.DeadlineExceeded].
func (e *Error) Is(target error) bool {
	return target == context.DeadlineExceeded && e.Reason == loompb.ErrorReason_ERROR_REASON_PROVIDER_TIMEOUT
}

const (
	domain       = "loom-grpc"
	reasonPrefix = "ERROR_REASON_"
)

type meaning struct {
	reason loompb.ErrorReason
	text   string
}

// meanings is what a status means that comes from gRPC itself or from a proxy on the way.
var meanings = map[codes.Code]meaning{
	codes.Canceled: {
		loompb.ErrorReason_ERROR_REASON_PROVIDER_UNAVAILABLE, "The server at {target} cancelled the call ({details}).",
	},
	codes.DeadlineExceeded: {
		loompb.ErrorReason_ERROR_REASON_PROVIDER_TIMEOUT, "The answer did not come within the time limit.",
	},
	codes.InvalidArgument: {
		loompb.ErrorReason_ERROR_REASON_INVALID_REQUEST, "The server at {target} refused the request ({details}).",
	},
	codes.PermissionDenied: {
		loompb.ErrorReason_ERROR_REASON_PERMISSION_DENIED, "The server at {target} refused the caller ({details}).",
	},
	codes.ResourceExhausted: {
		loompb.ErrorReason_ERROR_REASON_RATE_LIMITED, "The server at {target} refused the call ({details}).",
	},
	codes.Unauthenticated: {
		loompb.ErrorReason_ERROR_REASON_UNAUTHENTICATED, "The server at {target} wants credentials ({details}).",
	},
	codes.Unavailable: {
		loompb.ErrorReason_ERROR_REASON_PROVIDER_UNAVAILABLE, "There is no connection to the server at {target} ({details}).",
	},
	codes.Unimplemented: {
		loompb.ErrorReason_ERROR_REASON_INTERNAL, "The server at {target} does not have this method ({details}).",
	},
}

var (
	otherwise  = meaning{loompb.ErrorReason_ERROR_REASON_INTERNAL, "The call to the server at {target} failed ({details})."}
	tooLarge   = meaning{loompb.ErrorReason_ERROR_REASON_INVALID_REQUEST, "A message or its metadata is too large ({details})."}
	unsendable = meaning{loompb.ErrorReason_ERROR_REASON_INVALID_REQUEST, "The request cannot be sent ({details})."}
	closed     = meaning{
		loompb.ErrorReason_ERROR_REASON_PROVIDER_UNAVAILABLE, "The client of the server at {target} has been closed ({details}).",
	}
	unended = meaning{
		loompb.ErrorReason_ERROR_REASON_PROVIDER_BAD_RESPONSE, "The answer of the server at {target} ended without being complete.",
	}
)

// byWords is what servers and this gRPC (1.85) say with statuses that they also have for other things.
var byWords = []struct {
	words string
	meaning
}{
	{"larger than max", tooLarge},
	{"metadata size exceeds", tooLarge},
	{"header list size", tooLarge},
	{"error while marshaling", unsendable}, // text that is not UTF-8
	{"header key \"", unsendable},
	{"client connection is closing", closed},
}

// meaning reads what a failed call says; without the details of a loom-grpc server the reason follows from the status code.
func (e *edge) meaning(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	failure, _ := status.FromError(err) // Unknown for an error of another kind, a dial option's for example
	if failure.Code() == codes.Canceled && errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	if known := serverError(failure); known != nil {
		return known
	}
	return bareError(failure, e.target)
}

// serverError returns the error that the details of a loom-grpc server describe, or nil.
func serverError(failure *status.Status) *Error {
	known := &Error{Message: failure.Message(), status: failure}
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == domain {
				known.Reason = loompb.ErrorReason(loompb.ErrorReason_value[reasonPrefix+detail.GetReason()])
				known.Metadata = detail.GetMetadata()
			}
		case *errdetails.RetryInfo:
			wait := detail.GetRetryDelay().AsDuration()
			known.retryAfter = &wait
		}
	}
	if known.Reason == loompb.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return nil
	}
	return known
}

func bareError(failure *status.Status, target string) *Error {
	means, known := meanings[failure.Code()]
	if !known {
		means = otherwise
	}
	for _, row := range byWords {
		if strings.Contains(failure.Message(), row.words) {
			means = row.meaning
		}
	}
	return means.of(failure, target)
}

func (m meaning) of(failure *status.Status, target string) *Error {
	details, _, _ := strings.Cut(failure.Message(), "\n") // the next lines are the page that a proxy answered with
	if details == "" {
		details = "no details"
	}
	return &Error{
		Reason:   m.reason,
		Message:  strings.NewReplacer("{target}", target, "{details}", details).Replace(m.text),
		Metadata: map[string]string{"target": target, "grpc_code": code.Code(failure.Code()).String()},
		status:   failure,
	}
}

// eventError returns the error of an `error` event. A reason that this version does not know is INTERNAL.
func eventError(event *loompb.Error) *Error {
	failure := &Error{Reason: event.GetReason(), Message: event.GetMessage(), Partial: event.GetPartial()}
	if _, known := loompb.ErrorReason_name[int32(failure.Reason)]; !known || failure.Reason == 0 {
		failure.Reason = loompb.ErrorReason_ERROR_REASON_INTERNAL
	}
	if event.GetRetryAfter() != nil {
		wait := event.GetRetryAfter().AsDuration()
		failure.retryAfter = &wait
	}
	return failure
}
