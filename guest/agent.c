/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <unistd.h>

#include "kept.h"
#include "output.h"
#include "stream.h"

int agent_init(struct agent *a, int port_fd)
{
	*a = (struct agent){
		.channel = { .fd = port_fd },
		.cgroup_fd = -1,
		.image_fd = -1,
		.upper_fd = -1,
		.children = { .signal_fd = -1 },
		.output_fd = -1,
	};
	return loop_new(&a->loop);
}

void agent_done(struct agent *a)
{
	while (a->streams)
		stream_close(a->streams);
	kept_done(a);
	children_done(&a->children);
	output_done(a);
	loop_source_free(a->channel_source);
	loop_source_free(a->hangup_timer);
	loop_source_free(a->shutdown_timer);
	loop_source_free(a->rehearsal.timer);
	loop_free(a->loop);
	if (a->channel.fd >= 0)
		close(a->channel.fd); /* drop queued frames: the agent is about to end */
	channel_done(&a->channel);
	if (a->cgroup_fd >= 0)
		close(a->cgroup_fd); /* a folder */
	if (a->image_fd >= 0)
		close(a->image_fd); /* likewise */
	if (a->upper_fd >= 0)
		close(a->upper_fd); /* likewise */
	strv_done(&a->env);
	free(a->workdir);
	free(a->user);
	strv_done(&a->on_restore);
	strv_done(&a->args);
	strv_done(&a->stages);
	network_done(&a->network);
	slots_done(&a->slots);
	*a = (struct agent){
		.channel = { .fd = -1 },
		.cgroup_fd = -1,
		.image_fd = -1,
		.upper_fd = -1,
		.output_fd = -1,
	};
}
