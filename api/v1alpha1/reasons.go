package v1alpha1

// Reasons of the conditions of a Redis.
const (
	// ReasonAllReady (Ready): a master accepts writes, and every wanted member and Sentinel is ready.
	ReasonAllReady = "AllReady"
	// ReasonMembersNotReady (Ready): a member is missing or not ready; the message names it and why.
	ReasonMembersNotReady = "MembersNotReady"
	// ReasonSentinelsNotReady (Ready): a Sentinel is missing or not ready; the message names it and why.
	ReasonSentinelsNotReady = "SentinelsNotReady"
	// ReasonPodCannotStart (Ready, Progressing): a pod cannot start; the message is what the kubelet or the scheduler says.
	ReasonPodCannotStart = "PodCannotStart"
	// ReasonInvalidSpec (Ready): the spec breaks a rule, which the message names; nothing is changed until it is right.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonSecretMissing (Ready): the Secret that spec.auth.secretName names is missing or has no password; nothing is
	// changed until it is there.
	ReasonSecretMissing = "SecretMissing"
	// ReasonSecretInvalid (Ready): the password in the Secret cannot work everywhere; the message says why. The former one stays in
	// force, and nothing is changed until it is put right.
	ReasonSecretInvalid = "SecretInvalid"

	// ReasonMasterServes (MasterAvailable): a master accepts writes; the message names it.
	ReasonMasterServes = "MasterServes"
	// ReasonNoMaster (MasterAvailable, Ready): no member accepts writes.
	ReasonNoMaster = "NoMaster"

	// ReasonInSync (ReplicasInSync): the link of every replica is up.
	ReasonInSync = "InSync"
	// ReasonNoReplicas (ReplicasInSync): there is no replica to be in sync.
	ReasonNoReplicas = "NoReplicas"
	// ReasonReplicasBehind (ReplicasInSync): the message names the replicas whose link is down.
	ReasonReplicasBehind = "ReplicasBehind"

	// ReasonApplied (ConfigApplied): every member runs with the wanted configuration.
	ReasonApplied = "Applied"
	// ReasonApplying (ConfigApplied): some members have yet to take the configuration.
	ReasonApplying = "Applying"
	// ReasonRestartNeeded (ConfigApplied): settings of the message take effect by the rolling restart that goes on.
	ReasonRestartNeeded = "RestartNeeded"
	// ReasonRefused (ConfigApplied): the server does not accept a setting, which the message names; the others are applied. No member
	// restarts for its settings until that is put right, for it could not start.
	ReasonRefused = "Refused"

	// ReasonAllServed (SpecServed): every field of the spec takes effect.
	ReasonAllServed = "AllServed"
	// ReasonStorageNotGrown (SpecServed): the storage class does not let the volumes grow.
	ReasonStorageNotGrown = "StorageNotGrown"
	// ReasonNoPodMonitor (SpecServed): the cluster has no kind PodMonitor, or the operator may not make one.
	ReasonNoPodMonitor = "NoPodMonitor"
	// ReasonNoExternalAddress (SpecServed): a member has no address outside the cluster yet; the message says why.
	ReasonNoExternalAddress = "NoExternalAddress"
	// ReasonEngineTooOld (SpecServed): the members' engine cannot do what a field asks for.
	ReasonEngineTooOld = "EngineTooOld"
	// ReasonNotOnOneMachine (SpecServed): one machine cannot do what a field asks for; on Kubernetes it takes effect.
	ReasonNotOnOneMachine = "NotOnOneMachine"

	// ReasonIdle (Progressing): there is nothing to do.
	ReasonIdle = "Idle"
	// ReasonCreating (Progressing): members start for the first time.
	ReasonCreating = "Creating"
	// ReasonScaling (Progressing): members are added or removed.
	ReasonScaling = "Scaling"
	// ReasonRestarting (Progressing): members restart one after the other; the message says which and why.
	ReasonRestarting = "Restarting"
	// ReasonRestartBlocked (Progressing): a rolling restart stopped, because a member does not come back.
	ReasonRestartBlocked = "RestartBlocked"
	// ReasonStorageGrowing (Progressing): the volumes of the members grow; no member restarts.
	ReasonStorageGrowing = "StorageGrowing"
	// ReasonHandingOver (Progressing): another member becomes master, as was asked for.
	ReasonHandingOver = "HandingOver"
	// ReasonSlotsNotServed (Ready, MasterAvailable): slots of mode Cluster have no master that serves them; the message says
	// which shard, why, and what to do.
	ReasonSlotsNotServed = "SlotsNotServed"
	// ReasonForming (Progressing): the members of mode Cluster are made one cluster.
	ReasonForming = "Forming"
	// ReasonRepairing (Progressing): members of mode Cluster join again, are forgotten, or change their shard.
	ReasonRepairing = "Repairing"
	// ReasonRebalancing (Progressing): slots move from one master to another.
	ReasonRebalancing = "Rebalancing"
	// ReasonNeedsDecision (Progressing): mode Cluster cannot go on without losing data; the message says what it would cost.
	ReasonNeedsDecision = "NeedsDecision"
	// ReasonNameTaken (Progressing): an object that the Redis needs exists and belongs to somebody else.
	ReasonNameTaken = "NameTaken"
	// ReasonApplyFailed (Progressing, and Ready where pods are missing for it): the API server refuses an object of the Redis; the message says why.
	ReasonApplyFailed = "ApplyFailed"
)

// Reasons of the events of a Redis.
const (
	// EventFailedOver: a change of master that nobody planned; the message says from, to, why and how long. The new master's
	// agent tells it.
	EventFailedOver = "FailedOver"
	// EventHandedOver: a planned change of master, told likewise.
	EventHandedOver = "HandedOver"
	// EventHandoverFailed: a handover that was asked for did not happen; the message says why.
	EventHandoverFailed = "HandoverFailed"
	// EventRestarting: the operator restarts a member; the message says why.
	EventRestarting = "Restarting"
	// EventStorageGrown: the operator asked for larger volumes.
	EventStorageGrown = "StorageGrown"
	// EventFormed: the members of mode Cluster are one cluster that serves every slot.
	EventFormed = "Formed"
	// EventRepaired: the operator changed how the members of mode Cluster hang together; the message says how.
	EventRepaired = "Repaired"
	// EventSlotsMoved: slots moved from one master to another; the message says how many and how long it took.
	EventSlotsMoved = "SlotsMoved"
	// EventScaled: the number of members was changed.
	EventScaled = "Scaled"
)
