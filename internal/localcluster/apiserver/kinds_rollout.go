package apiserver

import "redstart.dev/redstart/api/v1alpha1"

// rolloutKinds is the Rollout. It has no scale: its workload has.
func rolloutKinds() []erasable {
	return []erasable{
		row[*v1alpha1.Rollout]{
			gv: v1alpha1.GroupVersion, plural: "rollouts", list: &v1alpha1.RolloutList{}, short: []string{"ro"}, inAll: true,
			defaults:       (*v1alpha1.Rollout).Default,
			validate:       (*v1alpha1.Rollout).Validate,
			validateUpdate: (*v1alpha1.Rollout).ValidateUpdate,
			spec:           func(r *v1alpha1.Rollout) any { return &r.Spec },
			copyStatus:     func(to, from *v1alpha1.Rollout) { to.Status = from.Status },
			needsVersion:   true,
			columns: []column[*v1alpha1.Rollout]{
				name[*v1alpha1.Rollout](),
				{"Strategy", func(r *v1alpha1.Rollout) any { return r.Status.Strategy }, false},
				{"Phase", func(r *v1alpha1.Rollout) any { return string(r.Status.Phase) }, false},
				{"Step", func(r *v1alpha1.Rollout) any { return r.Status.Progress }, false},
				{"Traffic", func(r *v1alpha1.Rollout) any { return r.Status.Traffic }, false},
				{"Message", func(r *v1alpha1.Rollout) any { return r.Status.Message }, true},
				age[*v1alpha1.Rollout](),
			},
		},
	}
}
