package apiserver

import (
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// batchKinds are the kinds of batch/v1.
func batchKinds() []erasable {
	return []erasable{
		row[*batchv1.Job]{
			gv: batchv1.SchemeGroupVersion, plural: "jobs", list: &batchv1.JobList{}, inAll: true,
			defaults:       defaultJob,
			prepare:        prepareJob,
			validate:       validateJob,
			validateUpdate: validateJobUpdate,
			spec:           func(j *batchv1.Job) any { return &j.Spec },
			copyStatus:     func(to, from *batchv1.Job) { to.Status = from.Status },
			fields: func(j *batchv1.Job) fields.Set {
				return fields.Set{"status.successful": itoa(j.Status.Succeeded)}
			},
			columns: jobColumns,
		},
	}
}
