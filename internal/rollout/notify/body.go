package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// Subject is the Rollout that a message is about.
type Subject struct {
	Namespace, Rollout string
	// Steps is how many there are.
	Steps int
}

// Body is what is posted, as JSON.
func Body(format v1alpha1.NotificationFormat, s Subject, m *v1alpha1.NotificationStatus) ([]byte, error) {
	var body any = object{
		ID: m.ID, Namespace: s.Namespace, Rollout: s.Rollout, Event: m.Event, Message: m.Message, Warning: m.Warning,
		Step: m.Step, Steps: s.Steps, Revision: m.Revision, Image: m.Image, Time: m.Time.UTC().Format(time.RFC3339),
	}
	if format == v1alpha1.NotificationSlack {
		body = slackMessage(s, m)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode a notification: %w", err)
	}
	return b, nil
}

// object is the format json. Its fields are for programs: none is left out.
type object struct {
	ID        string                     `json:"id"`
	Namespace string                     `json:"namespace"`
	Rollout   string                     `json:"rollout"`
	Event     v1alpha1.NotificationEvent `json:"event"`
	Message   string                     `json:"message"`
	Warning   bool                       `json:"warning"`
	Step      int32                      `json:"step"`
	Steps     int                        `json:"steps"`
	Revision  string                     `json:"revision"`
	Image     string                     `json:"image"`
	Time      string                     `json:"time"`
}

// message is that of Slack's incoming webhooks. Others understand its attachments, but not Slack's newer blocks.
type message struct {
	Text        string       `json:"text"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	Fallback string       `json:"fallback"`
	Color    string       `json:"color"`
	Fields   []slackField `json:"fields"`
	Time     int64        `json:"ts"`
}

type slackField struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

// The colours beside a message in Slack.
const (
	slackGreen  = "#2eb67d"
	slackYellow = "#ecb22e"
	slackRed    = "#e01e5a"
	slackBlue   = "#36c5f0"
)

func slackMessage(s Subject, m *v1alpha1.NotificationStatus) message {
	name := s.Namespace + "/" + s.Rollout
	a := attachment{Fallback: slackText(name + ": " + m.Message), Color: slackColor(m), Time: m.Time.Unix()}
	field := func(title, value string) {
		if value != "" {
			a.Fields = append(a.Fields, slackField{title, slackText(value), true})
		}
	}
	field("Rollout", name)
	field("Event", string(m.Event))
	field("Image", m.Image)
	field("Revision", m.Revision)
	if m.Step > 0 {
		field("Step", fmt.Sprintf("%d of %d", m.Step, s.Steps))
	}
	return message{Text: "*" + slackText(name) + "*: " + slackText(m.Message), Attachments: []attachment{a}}
}

func slackColor(m *v1alpha1.NotificationStatus) string {
	switch {
	case m.Warning:
		return slackRed
	case m.Event == v1alpha1.NotifyCompleted:
		return slackGreen
	case m.Event == v1alpha1.NotifyApprovalNeeded || m.Event == v1alpha1.NotifyPaused:
		return slackYellow
	}
	return slackBlue
}

// slackText makes text that Slack shows as it is: an error message must not call a channel by <!here>.
func slackText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
