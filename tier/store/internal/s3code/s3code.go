// Package s3code is what both S3 drivers share, so that they agree: which kind of
// store error an answer of an S3 server is, and how a PUT is sent.
package s3code

import (
	"net/http"

	"github.com/robustmq/robustmq-go/tier/store"
)

// Conflict is the code of S3's 409 for a conditional Put that met another
// request for the same key: nothing was done, and the same Put may be sent again.
const Conflict = "ConditionalRequestConflict"

// Kind returns the kind of an answer with an HTTP status (0: there was no
// answer) and an S3 error code (empty: there was none, as with HEAD).
func Kind(status int, code string) error {
	switch code {
	case "NoSuchKey", "NotFound":
		return store.ErrNotFound
	case "NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "ExpiredToken",
		"InvalidToken", "AllAccessDisabled", "AccountProblem", "PermanentRedirect", "AuthorizationHeaderMalformed", "InvalidBucketName":
		return store.ErrDenied
	case "PreconditionFailed":
		return store.ErrExists
	case "InvalidRange":
		return store.ErrRange
	case "EntityTooLarge", "MaxMessageLengthExceeded":
		return store.ErrTooLarge
	case "SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests",
		"RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted", "IncompleteBody", "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", Conflict,
		"XMinioServerNotInitialized", "XMinioStorageFull", "XMinioWriteQuorum", "XMinioReadQuorum":
		return store.ErrTemporary
	case "NotImplemented":
		return store.ErrBroken // conditional writes are not known to this server
	}
	switch {
	case status == http.StatusNotFound:
		return store.ErrNotFound
	case status == http.StatusPreconditionFailed:
		return store.ErrExists
	case status == http.StatusRequestedRangeNotSatisfiable:
		return store.ErrRange
	case status == http.StatusRequestEntityTooLarge:
		return store.ErrTooLarge
	case status == 0, status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooManyRequests:
		return store.ErrTemporary
	case status == http.StatusNotImplemented:
		return store.ErrBroken
	case status >= 500:
		return store.ErrTemporary
	case status >= 300:
		return store.ErrDenied
	}
	return store.ErrTemporary // a success that could not be read to its end
}
