package plan

// Best ranks the members of a vacant Redis; ok is false when none may become master.
func Best(members []Member, lastHolder string, replicas int32) (best Member, ok bool) {
	return Member{}, false
}

// ChooseCandidate is the member that a handover by the master goes to: the named one, or for an empty name the best. The
// error is for people and says what is wrong with the named one, or that there is none.
func ChooseCandidate(o Observation, name string) (Member, error) { return Member{}, nil }
