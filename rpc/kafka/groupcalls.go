package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (c *conn) joinGroup(ctx context.Context, q *kmsg.JoinGroupRequest) kmsg.Response {
	r := kmsg.NewPtrJoinGroupResponse()
	r.MemberID, r.Generation = q.MemberID, -1
	j := c.groups.join(ctx, c, q)
	if r.ErrorCode = j.code; j.id != "" {
		r.MemberID = j.id
	}
	if j.code == 0 {
		r.Generation, r.LeaderID, r.Members, r.SkipAssignment = j.generation, j.leader, j.members, j.skip
		r.ProtocolType, r.Protocol = kmsg.StringPtr(j.kind), kmsg.StringPtr(j.protocol)
	}
	return r
}

// join answers a JoinGroup; it returns when the next generation begins.
func (g *coordinator) join(ctx context.Context, c *conn, q *kmsg.JoinGroupRequest) joined {
	session := time.Duration(q.SessionTimeoutMillis) * time.Millisecond
	_, _, may := c.allows(q.Group)
	size := 0
	for _, p := range q.Protocols {
		size += len(p.Name) + len(p.Metadata)
	}
	switch {
	case size > maxProtocols:
		return joined{code: errInvalidRequest}
	case q.Group == "":
		return joined{code: errInvalidGroup}
	case !may:
		return joined{code: errGroupAuthorization}
	case session < minSession || session > maxSession:
		return joined{code: errInvalidSessionTimeout}
	case len(q.Protocols) == 0 || q.ProtocolType == "":
		return joined{code: errInconsistentProtocol}
	}
	wait, now := g.enter(c, q, session)
	if wait == nil {
		return now
	}
	select {
	case j := <-wait:
		return j
	case <-ctx.Done(): // the member stays until its session ends
		return joined{code: errCoordinatorNotAvailable}
	}
}

// enter makes a member of who asks, or lets a member join again. It returns where
// the answer will come, or the answer.
func (g *coordinator) enter(c *conn, q *kmsg.JoinGroupRequest, session time.Duration) (<-chan joined, joined) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gr, why := g.open(q.Group)
	if why != 0 {
		return nil, joined{code: why}
	}
	m := gr.members[q.MemberID]
	if m == nil {
		var answer joined
		if m, answer = g.newcomer(gr, c, q, session); m == nil {
			return nil, answer
		}
	} else {
		if q.InstanceID != nil && gr.instances[*q.InstanceID] != m.id {
			return nil, joined{code: errFencedInstance}
		}
		if !g.compatible(gr, q, m) {
			return nil, joined{code: errInconsistentProtocol}
		}
		same := slices.EqualFunc(m.protocols, q.Protocols, sameProtocol)
		m.protocols, m.session, m.rebalance = q.Protocols, session, patience(q)
		if same && (gr.state == stateCompleting || gr.state == stateStable && m.id != gr.leader) {
			// It has missed the answer; nothing has changed.
			m.expiry.Reset(m.session)
			return nil, gr.answer(m)
		}
	}
	if m.join != nil { // an earlier call of the same member, which has gone away
		m.join <- joined{code: errRebalanceInProgress}
	}
	wait := make(chan joined, 1)
	m.join = wait
	m.expiry.Reset(m.session)
	g.disturb(gr)
	return wait, joined{}
}

func sameProtocol(a, b kmsg.JoinGroupRequestProtocol) bool {
	return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
}

// compatible reports whether a member, or a newcomer for nil, can be in a group
// with the others.
func (g *coordinator) compatible(gr *group, q *kmsg.JoinGroupRequest, self *member) bool {
	if len(gr.members) == 0 || len(gr.members) == 1 && self != nil {
		gr.kind = q.ProtocolType
		return true
	}
	return q.ProtocolType == gr.kind && slices.ContainsFunc(q.Protocols, func(p kmsg.JoinGroupRequestProtocol) bool { return common(gr, p.Name, self) })
}

// patience is how long a rebalance waits for a member.
func patience(q *kmsg.JoinGroupRequest) time.Duration {
	return time.Duration(max(q.SessionTimeoutMillis, q.RebalanceTimeoutMillis)) * time.Millisecond
}

// newcomer makes a member of somebody who is none yet: of a dynamic member in two
// steps, so that a client that never hears its id leaves nothing behind; of a static
// one in the place of who had its name. Callers hold mu.
func (g *coordinator) newcomer(gr *group, c *conn, q *kmsg.JoinGroupRequest, session time.Duration) (*member, joined) {
	refuse := func(code int16, id string) (*member, joined) {
		g.forget(gr)
		return nil, joined{code: code, id: id}
	}
	var old *member // with the same name
	if q.InstanceID != nil {
		old = gr.members[gr.instances[*q.InstanceID]]
	}
	switch {
	case old == nil && len(gr.members)+len(gr.given) >= maxMembers:
		return refuse(errGroupMaxSize, "")
	case old != nil && q.MemberID != "":
		return refuse(errFencedInstance, "")
	case !g.compatible(gr, q, old):
		return refuse(errInconsistentProtocol, "")
	}
	id := q.MemberID
	if id == "" {
		id = c.clientID[:min(len(c.clientID), 64)] + "-" + rand.Text()
	} else if _, given := gr.given[id]; !given {
		return refuse(errUnknownMember, "")
	}
	if q.MemberID == "" && q.Version >= 4 && q.InstanceID == nil {
		gr.given[id] = time.Now().Add(session)
		return nil, joined{code: errMemberIDRequired, id: id}
	}
	host, _, _ := net.SplitHostPort(c.net.RemoteAddr().String())
	m := &member{
		id: id, client: c.clientID, host: "/" + host, instance: q.InstanceID, session: session,
		rebalance: patience(q), protocols: q.Protocols,
	}
	if old != nil {
		return g.replace(gr, old, m, q)
	}
	if code := g.admit(gr, m); code != 0 {
		return nil, joined{code: code}
	}
	return m, joined{}
}

// replace lets a static member that was started again go on in its place: when it
// asks for the same as before, the others hear nothing of it. Callers hold mu.
func (g *coordinator) replace(gr *group, old, m *member, q *kmsg.JoinGroupRequest) (*member, joined) {
	same := gr.state == stateStable && slices.EqualFunc(old.protocols, q.Protocols, sameProtocol)
	leader := gr.leader
	m.assignment = old.assignment
	g.remove(gr, old, errFencedInstance)
	if code := g.admit(gr, m); code != 0 {
		return nil, joined{code: code}
	}
	if leader == old.id {
		gr.leader = m.id
	}
	if !same {
		return m, joined{}
	}
	j := gr.answer(m)
	if gr.leader == m.id {
		// Clients of before version 9 do not know how to skip the assignment; to
		// them somebody else is the leader.
		if j.skip = q.Version >= 9; !j.skip {
			j.leader, j.members = old.id, nil
		}
	}
	return nil, j
}

func (c *conn) syncGroup(ctx context.Context, q *kmsg.SyncGroupRequest) kmsg.Response {
	r := kmsg.NewPtrSyncGroupResponse()
	s := synced{code: errGroupAuthorization}
	if _, _, may := c.allows(q.Group); may {
		s = c.groups.sync(ctx, q)
	}
	r.ErrorCode, r.MemberAssignment = s.code, s.assignment
	if s.code == 0 {
		r.ProtocolType, r.Protocol = kmsg.StringPtr(s.kind), kmsg.StringPtr(s.protocol)
	}
	if r.MemberAssignment == nil {
		r.MemberAssignment = []byte{}
	}
	return r
}

// sync answers a SyncGroup; it returns when the leader has divided the partitions.
func (g *coordinator) sync(ctx context.Context, q *kmsg.SyncGroupRequest) synced {
	wait, now := g.enterSync(q)
	if wait == nil {
		return now
	}
	select {
	case s := <-wait:
		return s
	case <-ctx.Done():
		return synced{code: errCoordinatorNotAvailable}
	}
}

func (g *coordinator) enterSync(q *kmsg.SyncGroupRequest) (<-chan synced, synced) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gr, m, code := g.find(q.Group, q.MemberID, q.InstanceID, q.Generation)
	switch {
	case code != 0:
		return nil, synced{code: code}
	case q.Protocol != nil && *q.Protocol != gr.protocol, q.ProtocolType != nil && *q.ProtocolType != gr.kind:
		return nil, synced{code: errInconsistentProtocol}
	case gr.state == statePreparing:
		return nil, synced{code: errRebalanceInProgress}
	case gr.state == stateStable:
		return nil, synced{kind: gr.kind, protocol: gr.protocol, assignment: m.assignment}
	}
	if m.sync != nil { // an earlier call of the same member, which has gone away
		m.sync <- synced{code: errRebalanceInProgress}
	}
	wait := make(chan synced, 1)
	m.sync = wait
	if m.id == gr.leader {
		for _, a := range q.GroupAssignment {
			if to := gr.members[a.MemberID]; to != nil {
				to.assignment = a.MemberAssignment
			}
		}
		gr.state = stateStable
		gr.stopDeadline()
		for _, m := range gr.members {
			if m.sync != nil {
				m.sync <- synced{kind: gr.kind, protocol: gr.protocol, assignment: m.assignment}
				m.sync = nil
			}
		}
	}
	return wait, synced{}
}

func (c *conn) heartbeat(_ context.Context, q *kmsg.HeartbeatRequest) kmsg.Response {
	r := kmsg.NewPtrHeartbeatResponse()
	if _, _, may := c.allows(q.Group); !may {
		r.ErrorCode = errGroupAuthorization
		return r
	}
	c.groups.mu.Lock()
	defer c.groups.mu.Unlock()
	gr, _, code := c.groups.find(q.Group, q.MemberID, q.InstanceID, q.Generation)
	if r.ErrorCode = code; code == 0 && gr.state == statePreparing {
		r.ErrorCode = errRebalanceInProgress
	}
	return r
}

func (c *conn) leaveGroup(_ context.Context, q *kmsg.LeaveGroupRequest) kmsg.Response {
	r := kmsg.NewPtrLeaveGroupResponse()
	if _, _, may := c.allows(q.Group); !may {
		r.ErrorCode = errGroupAuthorization
		return r
	}
	who := q.Members
	if q.Version < 3 {
		who = []kmsg.LeaveGroupRequestMember{{MemberID: q.MemberID}}
	}
	g := c.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	gr := g.groups[q.Group]
	gone := false
	for _, w := range who {
		out := kmsg.NewLeaveGroupResponseMember()
		out.MemberID, out.InstanceID = w.MemberID, w.InstanceID
		var m *member
		if gr != nil {
			id := w.MemberID
			if w.InstanceID != nil && id == "" {
				id = gr.instances[*w.InstanceID]
			}
			m = gr.members[id]
			delete(gr.given, id)
		}
		switch out.ErrorCode = errUnknownMember; {
		case w.InstanceID != nil && gr != nil && gr.instances[*w.InstanceID] != "" && (m == nil || m.id != gr.instances[*w.InstanceID]):
			out.ErrorCode = errFencedInstance
		case m != nil:
			out.ErrorCode = 0
			g.remove(gr, m, errUnknownMember)
			gone = true
		}
		r.Members = append(r.Members, out)
	}
	if gone {
		g.disturb(gr)
	}
	if q.Version < 3 {
		r.ErrorCode, r.Members = r.Members[0].ErrorCode, nil
	}
	return r
}

func (c *conn) describeGroups(_ context.Context, q *kmsg.DescribeGroupsRequest) kmsg.Response {
	r := kmsg.NewPtrDescribeGroupsResponse()
	known := c.log.Consumers()
	c.groups.mu.Lock()
	defer c.groups.mu.Unlock()
	slices.Sort(q.Groups) // one that is named twice is told once
	for _, name := range slices.Compact(q.Groups) {
		d := kmsg.NewDescribeGroupsResponseGroup()
		d.Group, d.State, d.ProtocolType, d.AuthorizedOperations = name, "Dead", "", noOperations
		if active, ok := known[name]; ok {
			d.State, d.ProtocolType = stateEmpty.String(), "consumer"
			if active != "" && active != holder {
				// A consumer of the changelog service; Kafka has no members for it.
				d.State, d.ProtocolType = stateStable.String(), "carbond"
			}
		}
		if gr := c.groups.groups[name]; gr != nil && len(gr.members) > 0 {
			d.State, d.ProtocolType, d.Protocol = gr.state.String(), gr.kind, gr.protocol
			for _, m := range gr.members {
				dm := kmsg.NewDescribeGroupsResponseGroupMember()
				dm.MemberID, dm.InstanceID, dm.ClientID, dm.ClientHost = m.id, m.instance, m.client, m.host
				dm.ProtocolMetadata, dm.MemberAssignment = m.metadata(gr.protocol), m.assignment
				d.Members = append(d.Members, dm)
			}
		}
		r.Groups = append(r.Groups, d)
	}
	return r
}

func (c *conn) listGroups(_ context.Context, q *kmsg.ListGroupsRequest) kmsg.Response {
	r := kmsg.NewPtrListGroupsResponse()
	known := c.log.Consumers()
	c.groups.mu.Lock()
	defer c.groups.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(known)) {
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.ProtocolType, g.GroupState, g.GroupType = name, "consumer", stateEmpty.String(), "classic"
		if gr := c.groups.groups[name]; gr != nil && len(gr.members) > 0 {
			g.ProtocolType, g.GroupState = gr.kind, gr.state.String()
		} else if known[name] != "" {
			g.ProtocolType, g.GroupState = "carbond", stateStable.String()
		}
		if len(q.StatesFilter) == 0 || slices.Contains(q.StatesFilter, g.GroupState) {
			r.Groups = append(r.Groups, g)
		}
	}
	return r
}

func (c *conn) deleteGroups(_ context.Context, q *kmsg.DeleteGroupsRequest) kmsg.Response {
	r := kmsg.NewPtrDeleteGroupsResponse()
	for _, name := range q.Groups {
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group = name
		if _, admin, _ := c.allows(name); !admin {
			g.ErrorCode = errGroupAuthorization
		} else {
			if g.ErrorCode = code(c.log.DeleteGroup(name)); g.ErrorCode == errInconsistentProtocol {
				g.ErrorCode = errNonEmptyGroup
			}
		}
		r.Groups = append(r.Groups, g)
	}
	return r
}
