package web

import (
	"context"
	"errors"
	"net/http"

	"redstart.dev/redstart/internal/guestbook"
)

// problem is an error as it is told to a visitor.
type problem struct {
	status int
	key    string
	n      int
	// retry: the same form may be sent again and succeed.
	retry   bool
	current *guestbook.Message
}

func (p problem) text(l *locale) string { return l.N(p.key, p.n) }

func describe(err error) problem {
	var (
		input    *guestbook.InputError
		conflict *guestbook.ConflictError
		large    *http.MaxBytesError
	)
	switch {
	case errors.As(err, &input):
		switch {
		case input.Field == "text" && input.Limit == 0:
			return problem{status: http.StatusUnprocessableEntity, key: "error.text.missing"}
		case input.Field == "text":
			return problem{status: http.StatusUnprocessableEntity, key: "error.text.long", n: input.Limit}
		case input.Field == "name":
			return problem{status: http.StatusUnprocessableEntity, key: "error.name.long", n: input.Limit}
		}
		return problem{status: http.StatusUnprocessableEntity, key: "error.form"}
	case errors.As(err, &conflict):
		return problem{status: http.StatusConflict, key: "conflict.title", current: &conflict.Current}
	case errors.As(err, &large):
		return problem{status: http.StatusRequestEntityTooLarge, key: "error.large"}
	case errors.Is(err, errBadForm):
		return problem{status: http.StatusForbidden, key: "error.form"}
	case errors.Is(err, guestbook.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return problem{status: http.StatusServiceUnavailable, key: "error.unavailable", retry: true}
	case errors.Is(err, errTooFast):
		return problem{status: http.StatusTooManyRequests, key: "error.rate", retry: true}
	case errors.Is(err, guestbook.ErrFull):
		return problem{status: http.StatusInsufficientStorage, key: "error.full"}
	case errors.Is(err, guestbook.ErrNotOwner):
		return problem{status: http.StatusForbidden, key: "error.owner"}
	case errors.Is(err, guestbook.ErrNotFound):
		return problem{status: http.StatusNotFound, key: "error.notfound"}
	}
	return problem{status: http.StatusInternalServerError, key: "error.internal"}
}
