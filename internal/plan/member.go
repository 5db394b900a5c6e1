package plan

// DecideMember decides for one member, in every mode but Cluster.
func DecideMember(o Observation) Decision { return Decision{Memory: o.Memory} }
