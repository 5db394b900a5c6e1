package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// explain puts what the API server or the network said into one line for people.
func (c *Client) explain(err error) error {
	var urlErr *url.Error
	var netErr net.Error
	var status *apierrors.StatusError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &urlErr), errors.As(err, &netErr):
		return fmt.Errorf("the API server at %s does not answer: %w", c.Config.Host, err)
	case errors.As(err, &status):
		return fromStatus(status)
	default:
		return err
	}
}

// Explain is explain for the callers that use the clients directly.
func (c *Client) Explain(err error) error { return c.explain(err) }

// statusError keeps the reason of the API server behind a shorter message.
type statusError struct {
	message string
	status  *apierrors.StatusError
}

func (e statusError) Error() string { return e.message }
func (e statusError) Unwrap() error { return e.status }

// fromStatus lists the fields that the API server complains about, one a line, and leaves the rest as it is.
func fromStatus(e *apierrors.StatusError) error {
	s := e.Status()
	if s.Details == nil || len(s.Details.Causes) == 0 || !apierrors.IsInvalid(e) {
		return e
	}
	lines := ""
	for i, cause := range s.Details.Causes {
		if i > 0 {
			lines += "\n"
		}
		lines += cause.Field + ": " + cause.Message
	}
	return statusError{lines, e}
}
