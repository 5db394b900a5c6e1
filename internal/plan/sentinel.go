package plan

// DecideSentinel decides for the agent of one Sentinel.
func DecideSentinel(o SentinelObservation) Decision { return Decision{Memory: o.Memory} }
