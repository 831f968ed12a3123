package kafka

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/store/change"
)

const (
	minSession = time.Second
	maxSession = 30 * time.Minute
	// maxMembers bounds the members of a group, and those that were given an id and
	// have not joined with it.
	maxMembers = 1000
	// maxGroups bounds the groups that have members, or ids given out.
	maxGroups = 1000
	// maxProtocols bounds what a member says of itself.
	maxProtocols = 64 << 10
	// holder is how the changelog's own lists name who consumes for a group.
	holder = "kafka"
)

// groupState is where a group is in the life that Kafka's classic protocol gives it.
type groupState uint8

const (
	stateEmpty      groupState = iota
	statePreparing             // members are asked to join again
	stateCompleting            // the leader divides the partitions
	stateStable
)

// String returns Kafka's name of the state.
func (s groupState) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[s]
}

// coordinator keeps the members of the groups. They are not durable, as a client
// joins again after a restart; what a group has committed is, in the store.
type coordinator struct {
	log  Log
	note *slog.Logger

	mu     sync.Mutex // guards what follows, and what is in the groups
	closed bool
	groups map[string]*group // that have members, or ids given out
}

func newCoordinator(log Log, note *slog.Logger) *coordinator {
	return &coordinator{log: log, note: note, groups: map[string]*group{}}
}

// group is a consumer group with members.
type group struct {
	name       string
	hold       change.Member // in the store
	state      groupState
	generation int32
	kind       string // protocol type
	protocol   string
	leader     string
	members    map[string]*member
	instances  map[string]string    // member ids of static members
	given      map[string]time.Time // ids that nobody has joined with yet, and when that is too late
	deadline   *time.Timer          // of the rebalance, nil for none
}

// member is one consumer.
type member struct {
	id, client, host string
	instance         *string
	session          time.Duration
	rebalance        time.Duration
	protocols        []kmsg.JoinGroupRequestProtocol
	assignment       []byte
	expiry           *time.Timer
	join             chan joined // set while the member waits in JoinGroup
	sync             chan synced // set while it waits in SyncGroup
}

// joined is the answer to a JoinGroup, synced that to a SyncGroup.
type joined struct {
	code       int16
	generation int32
	protocol   string
	kind       string
	leader, id string
	skip       bool // the leader need not divide the partitions again
	members    []kmsg.JoinGroupResponseMember
}

type synced struct {
	code           int16
	kind, protocol string
	assignment     []byte
}

// count returns the number of members of all groups.
func (g *coordinator) count() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gr := range g.groups {
		n += len(gr.members)
	}
	return n
}

// close lets all members go.
func (g *coordinator) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, gr := range g.groups {
		for _, m := range gr.members {
			g.remove(gr, m, errCoordinatorNotAvailable)
		}
		g.forget(gr)
	}
}

// open returns a group to join, and holds it in the store from its first member on.
// Callers hold mu.
func (g *coordinator) open(name string) (*group, int16) {
	if g.closed {
		return nil, errCoordinatorNotAvailable
	}
	if gr := g.groups[name]; gr != nil {
		return gr, 0
	}
	if len(g.groups) >= maxGroups {
		for _, gr := range g.groups {
			g.forget(gr) // ids that nobody came with
		}
		if len(g.groups) >= maxGroups {
			return nil, errGroupMaxSize
		}
	}
	gr := &group{name: name, members: map[string]*member{}, instances: map[string]string{}, given: map[string]time.Time{}}
	g.groups[name] = gr
	return gr, 0
}

// forget ends a group that has neither members nor ids given out. Callers hold mu.
func (g *coordinator) forget(gr *group) {
	now := time.Now()
	for id, until := range gr.given {
		if now.After(until) || g.closed {
			delete(gr.given, id)
		}
	}
	if len(gr.members) > 0 {
		return
	}
	if gr.hold.Leave != nil {
		gr.hold.Leave()
		gr.hold = change.Member{}
	}
	gr.state, gr.protocol, gr.leader = stateEmpty, "", ""
	gr.stopDeadline()
	if len(gr.given) == 0 {
		delete(g.groups, gr.name)
	}
}

// admit makes a member of who joins. Callers hold mu.
func (g *coordinator) admit(gr *group, m *member) int16 {
	if gr.hold.Leave == nil {
		hold, err := g.log.JoinAlone(gr.name, holder)
		if err != nil {
			if !errors.Is(err, change.ErrGroupBusy) {
				g.note.Warn("Kafka group cannot be held", "group", gr.name, "error", err)
			}
			g.forget(gr)
			return code(err)
		}
		gr.hold = hold
	}
	delete(gr.given, m.id)
	gr.members[m.id] = m
	if m.instance != nil {
		gr.instances[*m.instance] = m.id
	}
	m.expiry = time.AfterFunc(m.session, func() { g.expire(gr, m) })
	return 0
}

// expire removes a member that was not heard of for its session.
func (g *coordinator) expire(gr *group, m *member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gr.members[m.id] != m {
		return
	}
	if m.join != nil || m.sync != nil {
		m.expiry.Reset(m.session) // it waits for us
		return
	}
	g.remove(gr, m, errUnknownMember)
	g.disturb(gr)
}

// remove takes a member out, whose waiting calls are answered with a code. Callers
// hold mu.
func (g *coordinator) remove(gr *group, m *member, why int16) {
	m.expiry.Stop()
	delete(gr.members, m.id)
	if m.instance != nil && gr.instances[*m.instance] == m.id {
		delete(gr.instances, *m.instance)
	}
	if m.join != nil {
		m.join <- joined{code: why, id: m.id, generation: -1}
		m.join = nil
	}
	if m.sync != nil {
		m.sync <- synced{code: why}
		m.sync = nil
	}
}

// disturb begins a rebalance after a member has come, gone or changed. Callers
// hold mu.
func (g *coordinator) disturb(gr *group) {
	if len(gr.members) == 0 {
		g.forget(gr)
		return
	}
	if gr.state != statePreparing {
		for _, m := range gr.members {
			if m.sync != nil {
				m.sync <- synced{code: errRebalanceInProgress}
				m.sync = nil
			}
			m.assignment = nil
		}
		gr.state = statePreparing
		g.giveUntil(gr)
	}
	g.gather(gr)
}

// giveUntil gives the members of a group time for what they have to do in its
// state. Callers hold mu.
func (g *coordinator) giveUntil(gr *group) {
	gr.stopDeadline()
	var patience time.Duration
	for _, m := range gr.members {
		patience = max(patience, m.rebalance)
	}
	var t *time.Timer
	t = time.AfterFunc(patience, func() { g.late(gr, &t) })
	gr.deadline = t
}

func (gr *group) stopDeadline() {
	if gr.deadline != nil {
		gr.deadline.Stop()
		gr.deadline = nil
	}
}

// late ends the wait for members that did not join again, or did not ask for their
// part. of is the timer that has run out.
func (g *coordinator) late(gr *group, of **time.Timer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gr.deadline != *of {
		return // another rebalance has begun
	}
	gr.deadline = nil
	preparing := gr.state == statePreparing
	for _, m := range gr.members {
		if preparing && m.join == nil || !preparing && m.sync == nil {
			g.remove(gr, m, errUnknownMember)
		}
	}
	g.disturb(gr)
}

// gather begins the next generation when all members have joined again. Callers
// hold mu.
func (g *coordinator) gather(gr *group) {
	for _, m := range gr.members {
		if m.join == nil {
			return
		}
	}
	gr.generation++
	gr.state = stateCompleting
	g.giveUntil(gr)
	gr.protocol = vote(gr)
	if gr.members[gr.leader] == nil {
		gr.leader = ""
		for id := range gr.members {
			if gr.leader == "" || id < gr.leader {
				gr.leader = id
			}
		}
	}
	for _, m := range gr.members {
		m.join <- gr.answer(m)
		m.join = nil
		m.expiry.Reset(m.session)
	}
}

// answer is what a member hears of the generation that it is in; the leader hears
// of all members, to divide the partitions.
func (gr *group) answer(m *member) joined {
	j := joined{generation: gr.generation, protocol: gr.protocol, kind: gr.kind, leader: gr.leader, id: m.id}
	if m.id != gr.leader {
		return j
	}
	for _, o := range gr.members {
		r := kmsg.NewJoinGroupResponseMember()
		r.MemberID, r.InstanceID, r.ProtocolMetadata = o.id, o.instance, o.metadata(gr.protocol)
		j.members = append(j.members, r)
	}
	return j
}

// metadata is what a member says of itself in a protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// vote returns the protocol that most members prefer among those that all know.
func vote(gr *group) string {
	votes := map[string]int{}
	for _, m := range gr.members {
		for _, p := range m.protocols {
			if common(gr, p.Name, nil) {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for name, n := range votes {
		if best == "" || n > votes[best] || n == votes[best] && name < best {
			best = name
		}
	}
	return best
}

// common reports whether every member but one, nil for none, knows a protocol.
func common(gr *group, name string, but *member) bool {
	for _, m := range gr.members {
		if m != but && !slices.ContainsFunc(m.protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return p.Name == name }) {
			return false
		}
	}
	return true
}

// find returns a member by what a request says of it, or the code of what is wrong.
// It counts as heard of. Callers hold mu.
func (g *coordinator) find(name, id string, instance *string, generation int32) (*group, *member, int16) {
	gr := g.groups[name]
	if gr == nil {
		return nil, nil, errUnknownMember
	}
	if instance != nil {
		if now, ok := gr.instances[*instance]; ok && now != id {
			return gr, nil, errFencedInstance
		}
	}
	m := gr.members[id]
	switch {
	case m == nil:
		return gr, nil, errUnknownMember
	case generation != gr.generation:
		return gr, nil, errIllegalGeneration
	}
	m.expiry.Reset(m.session)
	return gr, m, 0
}
