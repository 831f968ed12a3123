package kafka

import (
	"context"
	"crypto/sha256"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// node is the id of the only broker, which leads every partition and coordinates
// every group.
const node = 1

// noOperations says that what a client may do is not told.
const noOperations = -2147483648

// versions lists what is served.
func (c *conn) versions() []kmsg.ApiVersionsResponseApiKey {
	var out []kmsg.ApiVersionsResponseApiKey
	for _, a := range apis() {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = a.key.Int16(), a.min, a.max
		out = append(out, k)
	}
	return out
}

func (c *conn) apiVersions(_ context.Context, _ *kmsg.ApiVersionsRequest) kmsg.Response {
	r := kmsg.NewPtrApiVersionsResponse()
	r.ApiKeys = c.versions()
	return r
}

// topicID is the same for a topic as long as its data is, over restores too.
func (s *Server) topicID(name string) [16]byte {
	sum := sha256.Sum256([]byte(root(s.log.History()) + "\x00" + name))
	id := [16]byte(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUID of version 8
	return id
}

func (c *conn) metadata(_ context.Context, q *kmsg.MetadataRequest) kmsg.Response {
	r := kmsg.NewPtrMetadataResponse()
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID = node
	b.Host, b.Port = c.address()
	r.Brokers, r.ControllerID, r.AuthorizedOperations = []kmsg.MetadataResponseBroker{b}, node, noOperations
	r.ClusterID = kmsg.StringPtr(root(c.log.History()))
	ids := map[[16]byte]string{}
	for _, t := range c.log.Topics() {
		ids[c.topicID(t.Name)] = t.Name
		if q.Topics == nil || q.Version == 0 && len(q.Topics) == 0 {
			r.Topics = append(r.Topics, c.described(t.Name))
		}
	}
	for _, want := range q.Topics {
		name, unknown := ids[want.TopicID], int16(errUnknownTopicID)
		if want.Topic != nil {
			name, unknown = *want.Topic, errUnknownTopicOrPartition
		}
		if _, ok := c.log.Topic(name); ok {
			r.Topics = append(r.Topics, c.described(name))
			continue
		}
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.TopicID, t.AuthorizedOperations, t.ErrorCode = want.Topic, want.TopicID, noOperations, unknown
		r.Topics = append(r.Topics, t)
	}
	return r
}

func (c *conn) described(name string) kmsg.MetadataResponseTopic {
	p := kmsg.NewMetadataResponseTopicPartition()
	p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, p.OfflineReplicas = node, c.epoch(), []int32{node}, []int32{node}, []int32{}
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.AuthorizedOperations = kmsg.StringPtr(name), c.topicID(name), noOperations
	t.Partitions = []kmsg.MetadataResponseTopicPartition{p}
	return t
}

func (c *conn) describeTopicPartitions(_ context.Context, q *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	r := kmsg.NewPtrDescribeTopicPartitionsResponse()
	for _, want := range q.Topics {
		t := kmsg.NewDescribeTopicPartitionsResponseTopic()
		t.Topic, t.AuthorizedOperations = kmsg.StringPtr(want.Topic), noOperations
		if _, ok := c.log.Topic(want.Topic); !ok {
			t.ErrorCode = errUnknownTopicOrPartition
			r.Topics = append(r.Topics, t)
			continue
		}
		p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		p.LeaderID, p.LeaderEpoch, p.Replicas, p.ISR = node, c.epoch(), []int32{node}, []int32{node}
		t.TopicID, t.Partitions = c.topicID(want.Topic), []kmsg.DescribeTopicPartitionsResponseTopicPartition{p}
		r.Topics = append(r.Topics, t)
	}
	return r
}

func (c *conn) describeCluster(_ context.Context, _ *kmsg.DescribeClusterRequest) kmsg.Response {
	r := kmsg.NewPtrDescribeClusterResponse()
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID = node
	b.Host, b.Port = c.address()
	r.ClusterID, r.ControllerID, r.ClusterAuthorizedOperations = root(c.log.History()), node, noOperations
	r.Brokers = []kmsg.DescribeClusterResponseBroker{b}
	return r
}

func (c *conn) findCoordinator(_ context.Context, q *kmsg.FindCoordinatorRequest) kmsg.Response {
	r := kmsg.NewPtrFindCoordinatorResponse()
	r.NodeID = node
	r.Host, r.Port = c.address()
	for _, key := range q.CoordinatorKeys {
		k := kmsg.NewFindCoordinatorResponseCoordinator()
		k.Key, k.NodeID, k.Host, k.Port = key, node, r.Host, r.Port
		if q.CoordinatorType != 0 {
			k.NodeID, k.ErrorCode, k.ErrorMessage = -1, errCoordinatorNotAvailable, kmsg.StringPtr("there are no transactions here")
		}
		r.Coordinators = append(r.Coordinators, k)
	}
	if q.Version < 4 && q.CoordinatorType != 0 {
		r.NodeID, r.ErrorCode, r.ErrorMessage = -1, errCoordinatorNotAvailable, kmsg.StringPtr("there are no transactions here")
	}
	return r
}

// configs are what web pages and administration tools ask of a topic.
var configs = [][2]string{{"cleanup.policy", "delete"}, {"compression.type", "producer"}, {"message.timestamp.type", "CreateTime"}}

func (c *conn) describeConfigs(_ context.Context, q *kmsg.DescribeConfigsRequest) kmsg.Response {
	r := kmsg.NewPtrDescribeConfigsResponse()
	for _, want := range q.Resources {
		d := kmsg.NewDescribeConfigsResponseResource()
		d.ResourceType, d.ResourceName = want.ResourceType, want.ResourceName
		_, known := c.log.Topic(want.ResourceName)
		switch {
		case want.ResourceType == kmsg.ConfigResourceTypeTopic && !known:
			d.ErrorCode = errUnknownTopicOrPartition
		case want.ResourceType == kmsg.ConfigResourceTypeTopic:
			for _, kv := range configs {
				if want.ConfigNames != nil && !slices.Contains(want.ConfigNames, kv[0]) {
					continue
				}
				v := kmsg.NewDescribeConfigsResponseResourceConfig()
				v.Name, v.Value, v.ReadOnly, v.IsDefault, v.Source, v.ConfigType = kv[0], kmsg.StringPtr(kv[1]), true, true, kmsg.ConfigSourceDefaultConfig, kmsg.ConfigTypeString
				d.Configs = append(d.Configs, v)
			}
		}
		r.Resources = append(r.Resources, d)
	}
	return r
}

func (c *conn) describeLogDirs(_ context.Context, q *kmsg.DescribeLogDirsRequest) kmsg.Response {
	r := kmsg.NewPtrDescribeLogDirsResponse()
	d := kmsg.NewDescribeLogDirsResponseDir()
	d.Dir = "changelog"
	for _, t := range c.log.Topics() {
		if q.Topics != nil && !slices.ContainsFunc(q.Topics, func(w kmsg.DescribeLogDirsRequestTopic) bool { return w.Topic == t.Name }) {
			continue
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Size = int64(t.Bytes)
		dt := kmsg.NewDescribeLogDirsResponseDirTopic()
		dt.Topic, dt.Partitions = t.Name, []kmsg.DescribeLogDirsResponseDirTopicPartition{p}
		d.Topics = append(d.Topics, dt)
	}
	r.Dirs = []kmsg.DescribeLogDirsResponseDir{d}
	return r
}

// produce refuses: what is in the topics comes from the database.
func (c *conn) produce(_ context.Context, q *kmsg.ProduceRequest) kmsg.Response {
	if q.Acks == 0 {
		return nil // the client waits for no answer
	}
	r := kmsg.NewPtrProduceResponse()
	for _, t := range q.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, errTopicAuthorization, -1
			rp.ErrorMessage = kmsg.StringPtr("topics are read-only: they hold the changes of the database")
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}
