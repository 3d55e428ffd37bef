package amqp

import "strings"

// A vhost is a wall, both ways. The subjects of vhost v lie below "v.", and its
// exchanges and queues name nothing else. Those of "/" have no prefix, so what begins
// with another vhost's is kept from it: it is not published there, bound there, nor
// delivered from there by a pattern.

// walls gives the prefixes of what "/" does not see.
func (c *Config) walls() []string {
	if c.RootSeesVHosts {
		return nil
	}
	var walls []string
	for _, name := range c.VHosts {
		if name != "/" {
			walls = append(walls, name+".")
		}
	}
	return walls
}

// within refuses a subject, or a pattern of subjects, of another vhost.
func (vh *vhost) within(subject string) error {
	for _, prefix := range vh.walls {
		if strings.HasPrefix(subject, prefix) {
			return refuse(codeAccessRefused, "subject '%.255s' belongs to vhost '%s', not to vhost '%s'", subject, strings.TrimSuffix(prefix, "."), vh.name)
		}
	}
	return nil
}

// warnOfWalls tells of what was declared before another vhost got its place: it gets
// and takes no messages any more.
func (vh *vhost) warnOfWalls() {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	for name := range vh.mu.exchanges {
		if vh.within(name+".") != nil {
			vh.s.log.Warn("exchange lies within another vhost and is cut off", "vhost", vh.name, "exchange", name)
		}
	}
	for name := range vh.mu.queues {
		if vh.within(name) != nil {
			vh.s.log.Warn("queue lies within another vhost and is cut off", "vhost", vh.name, "queue", name)
		}
	}
}
