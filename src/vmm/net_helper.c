/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/net_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/program.h"
#include "base/sock.h"
#include "base/str.h"
#include "codec/json.h"
#include "vmm/name_servers.h"
#include "vmm/net_news.h"
#include "vmm/walls.h"

#define REPLY_MAX	  4096u
#define UNASKED_MAX	  16u		/* reports before a reply */
#define AGAIN_PAUSE_MS	  INT64_C(1000) /* doubled up to about a minute */
#define AGAIN_STEADY_NS	  (60 * NS_PER_S)
#define AGAIN_PATIENCE_NS (20 * NS_PER_S)
#define THREADS_MAX	  4u
#define FD_END		  6	/* its descriptors are below this limit */
#define FILES_MAX	  2048u /* limit of descriptors; usernet/sockets.h needs fewer */

/* ---- its configuration ---- */

static json_t *forward_json(const struct vmm_forward *f)
{
	return json_pack("{s:b, s:s, s:i, s:i}", "udp", f->udp, "address", f->host_address, "port",
			 f->host_port, "guest_port", f->guest_port);
}

static char *configuration(const struct vmm_config *c, bool resume)
{
	AUTO_DONE(strv) servers = { 0 };
	const struct vmm_network *n = &c->network_rules;
	json_t *forwards = json_array();
	for (size_t i = 0; i < c->n_forwards; i++)
		json_array_append_new(forwards, forward_json(&c->forwards[i]));
	if (n->n_dns == 0)
		name_servers_of_host(&servers);
	AUTO_JSON json_t *all = json_pack(
		"{s:o, s:o, s:o, s:I, s:I, s:b, s:b, s:o}", "allow",
		json_strings(n->allow, n->n_allow), "deny", json_strings(n->deny, n->n_deny), "dns",
		n->n_dns ? json_strings(n->dns, n->n_dns) : json_strings(servers.v, servers.n),
		"bytes_per_s", (json_int_t)n->bytes_per_s, "packets_per_s",
		(json_int_t)n->packets_per_s, "resume", resume, "held", c->network_held, "forwards",
		forwards);
	return all && json_array_size(forwards) == c->n_forwards ? json_dumps(all, JSON_COMPACT)
								 : NULL;
}

/* ---- its process ---- */

struct child {
	struct net_process *net;
	const char *binary;
	bool new_user; /* in a user namespace of its own */
};

static int in_child(void *arg)
{
	const struct child *child = arg;
	if (chdir("/") < 0)
		return -errno;
	return child->net->user.fd >= 0 ? own_uid_become(&child->net->user, 0, true) : 0;
}

static int before_exec(void *arg)
{
	const struct child *child = arg;
	bool counted = child->net->user.fd >= 0 || (child->new_user && walls_count_threads());
	const struct walls walls = {
		.binary = child->binary,
		.network = true,
		.files_max = FILES_MAX,
		.threads_max = counted ? THREADS_MAX : 0,
		.memory_max_bytes = (uint64_t)NET_HELPER_MEMORY_MIB << 20,
		.fd_above = FD_END,
	};
	if (walls_are_off())
		return 0;
	int r = walls_limit(&walls, walls_there_are());
	return r < 0 ? r : walls_filter(&walls);
}

static int spawn(struct net_process *h, const struct process_spec *spec, struct child *child)
{
	bool alone = h->user.fd >= 0;
	int r = -ENOTSUP;
	child->new_user = !alone;
	if (!walls_are_off())
		r = box_spawn(&h->box, alone ? 0 : BOX_NEW_USER, spec, &h->process);
	if (r != -ENOTSUP)
		return r;
	box_done(&h->box);
	child->new_user = false;
	r = process_spawn(spec, &h->process);
	return r == 0 && alone ? own_uid_tie(&h->user, h->process.pid) : r;
}

static int start(struct net_process *h, char *text, int log_fd, int *ret_control_fd,
		 struct mvm_error *err)
{
	AUTO_FREE char *binary = NULL;
	int control[2];
	int r = program_helper_path(NET_HELPER_PROGRAM, &binary);
	if (r == 0 && h->alone)
		r = own_uid_take(&h->user);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start %s: %s", NET_HELPER_PROGRAM,
				     strerror(-r));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		return mvm_error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	AUTO_CLOSE int our_control = control[0];
	AUTO_CLOSE int its_control = control[1];
	AUTO_CLOSE int routes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (routes < 0)
		return mvm_error_set(err, -errno, "cannot ask for routes: %s", strerror(errno));
	char *const argv[] = { binary, text, NULL };
	char *const no_env[] = { NULL };
	const int fds[] = { h->link_fd, its_control, routes };
	struct child child = { h, binary, false };
	const struct process_spec spec = {
		.argv = argv,
		.env = no_env,
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = log_fd,
		.fds = fds,
		.n_fds = MVM_ARRAY_SIZE(fds),
		.flags = PROCESS_DIE_WITH_PARENT,
		.in_child = in_child,
		.before_exec = before_exec,
		.in_child_arg = &child,
	};
	r = spawn(h, &spec, &child);
	if (r < 0)
		return mvm_error_set(err, r, "cannot start '%s': %s", binary, strerror(-r));
	*ret_control_fd = TAKE_FD(our_control);
	return 0;
}

/* It ends, if it has not. */
static void end(struct net_process *h)
{
	process_kill(&h->process);
	box_done(&h->box);
	own_uid_done(&h->user);
	h->process = (struct process){ 0 };
	h->user = (struct own_uid)OWN_UID_NONE;
	h->box = (struct box)BOX_NONE;
}

int net_process_start(struct net_process *h, const struct vmm_config *c, bool alone, int link_fd,
		      int *ret_control_fd, struct mvm_error *err)
{
	AUTO_FREE char *text = configuration(c, false);
	if (!text)
		return mvm_error_oom(err);
	h->link_fd = fcntl(link_fd, F_DUPFD_CLOEXEC, 3);
	if (h->link_fd < 0)
		return mvm_error_set(err, -errno, "cannot keep a socket: %s", strerror(errno));
	h->alone = alone;
	return start(h, text, c->log_fd, ret_control_fd, err);
}

int net_process_again(struct net_process *h, const struct vmm_config *c, int *ret_control_fd,
		      struct mvm_error *err)
{
	AUTO_FREE char *text = configuration(c, true);
	if (!text)
		return mvm_error_oom(err);
	end(h);
	return start(h, text, c->log_fd, ret_control_fd, err);
}

int net_process_seal(struct net_process *h, struct mvm_error *err)
{
	int r = h->box.keeper.pid ? box_seal(&h->box) : 0;
	return r < 0 ? mvm_error_set(err, r, "cannot take the host's files from %s: %s",
				     NET_HELPER_PROGRAM, strerror(-r))
		     : 0;
}

void net_process_done(struct net_process *h)
{
	end(h);
	auto_close(&h->link_fd);
	*h = (struct net_process)NET_PROCESS_NONE;
}

/* ---- asking it ---- */

/* Start another mvm-net: the first time at once, then after pauses that grow. */
static void plan_again(struct net_helper *h)
{
	int64_t now_ns = clock_now_ns(), pause_ms = 0;
	if (!h->keeper->start_network)
		return;
	if (now_ns - h->again_ns > AGAIN_STEADY_NS)
		h->tries = 0;
	if (h->tries > 0)
		pause_ms = AGAIN_PAUSE_MS << (h->tries < 7 ? h->tries - 1 : 6);
	h->tries++;
	h->is_returning = true;
	loop_source_arm(h->again, now_ns + pause_ms * NS_PER_MS);
}

static void lose(struct net_helper *h, const char *why)
{
	const struct vmm_network_news news = { .problem = why };
	bool was_up = h->is_up;
	loop_source_free(TAKE_PTR(h->source));
	h->ended = true;
	h->is_up = false;
	h->n_unheard = 0;
	if (was_up)
		h->on_news(h->arg, &news);
	if (was_up || h->is_returning)
		plan_again(h);
}

/* It may have been started with older rules, so send the present ones. */
static void send_kept(struct net_helper *h)
{
	AUTO_FREE char *text = TAKE_PTR(h->kept);
	if (!text)
		return;
	if (send(h->control_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		h->kept = TAKE_PTR(text);
		lose(h, NET_HELPER_PROGRAM " takes no orders");
		return;
	}
	h->n_unheard++;
}

/* The new mvm-net has said whether it serves. */
static void take_return(struct net_helper *h, const json_t *said)
{
	const struct vmm_network_news news = { .is_back = true };
	const char *text = json_string_value(json_object_get(said, "error"));
	if (json_object_get(said, "code") || h->keeper->seal_network(h->keeper->arg, NULL) < 0) {
		lose(h, text ? text : "it does not start");
		return;
	}
	loop_source_arm(h->again, DEADLINE_NONE);
	h->is_returning = h->ended = false;
	h->is_up = true;
	h->on_news(h->arg, &news);
	send_kept(h);
}

static void on_pause_over(void *arg)
{
	struct net_helper *h = arg;
	if (h->source)
		loop_source_set_events(h->source, EPOLLIN); /* else the report comes with a reply */
}

static void on_message(void *arg, uint32_t events)
{
	struct net_helper *h = arg;
	struct vmm_refusal refusals[VMM_REFUSALS_MAX];
	struct vmm_network_news news = { .refusals = refusals };
	char text[REPLY_MAX];
	AUTO_JSON json_t *doc = NULL;
	ssize_t n = recv(h->control_fd, text, sizeof(text), MSG_DONTWAIT);
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lose(h, NET_HELPER_PROGRAM " has ended");
		return;
	}
	int r = json_read(text, (size_t)n, "reply", &doc, NULL);
	if (r == 0 && json_object_get(doc, "ended")) { /* the VMM has hung up, and it goes too */
		h->ended = true;
		h->is_up = h->is_returning = false;
		loop_source_free(TAKE_PTR(h->source));
		return;
	}
	bool is_report = r == 0 && json_object_get(doc, "refusals");
	if (is_report)
		r = net_news_read(doc, &h->refused, &news, refusals);
	if (r < 0) { /* it is not ours any more */
		lose(h, NET_HELPER_PROGRAM " does not speak as it should");
		return;
	}
	if (!is_report && h->is_returning) {
		take_return(h, doc);
		return;
	}
	if (!is_report && h->n_unheard > 0) {
		h->n_unheard--;
		return;
	}
	if (!is_report) {
		json_decref(h->reply);
		h->reply = TAKE_PTR(doc);
		h->is_asked = false;
		return;
	}
	/* however much it tells, nobody listens for a while, except for the reply to a question */
	if (h->is_asked && ++h->n_unasked > UNASKED_MAX) {
		lose(h, NET_HELPER_PROGRAM " does not answer");
		return;
	}
	if (!h->is_asked) {
		loop_source_set_events(h->source, 0);
		loop_source_arm(h->pause, clock_deadline_ns(NET_HELPER_PAUSE_MS));
	}
	h->on_news(h->arg, &news);
}

static void on_again(void *arg)
{
	struct net_helper *h = arg;
	int fd = -1;
	loop_source_free(TAKE_PTR(h->source));
	auto_close(&h->control_fd);
	h->control_fd = -1;
	h->again_ns = clock_now_ns();
	h->refused = 0;
	int r = h->keeper->start_network(h->keeper->arg, &fd, NULL);
	if (r == 0) {
		h->control_fd = fd;
		r = loop_add_fd(h->loop, fd, EPOLLIN, on_message, h, &h->source);
	}
	plan_again(h); /* in case it does not serve by then */
	if (r == 0)
		loop_source_arm(h->again, h->again_ns + AGAIN_PATIENCE_NS);
}

int net_helper_take(struct net_helper *h, int control_fd, const struct vmm_keeper *keeper,
		    struct loop *loop, vmm_network_fn on_news, void *arg)
{
	h->loop = loop;
	h->control_fd = control_fd;
	h->keeper = keeper;
	h->on_news = on_news;
	h->arg = arg;
	int r = loop_add_timer(loop, DEADLINE_NONE, on_pause_over, h, &h->pause);
	if (r == 0)
		r = loop_add_timer(loop, DEADLINE_NONE, on_again, h, &h->again);
	return r < 0 ? r : loop_add_fd(loop, control_fd, EPOLLIN, on_message, h, &h->source);
}

static int wait_reply(struct net_helper *h, int64_t deadline_ns, struct mvm_error *err)
{
	while (!h->reply && !h->ended) {
		int r = loop_run_once(h->loop, deadline_ns);
		if (r < 0)
			return mvm_error_set(err, r, "%s does not answer: %s", NET_HELPER_PROGRAM,
					     strerror(-r));
	}
	if (!h->reply)
		return mvm_error_set(err, -EPIPE, "%s has ended", NET_HELPER_PROGRAM);
	json_t *code = json_object_get(h->reply, "code");
	if (!code)
		return 0;
	json_int_t value = json_integer_value(code);
	const char *text = json_string_value(json_object_get(h->reply, "error"));
	return mvm_error_set(err, value < 0 && value > -4096 ? (int)value : -EIO, "%s",
			     text ? text : "the network does not start");
}

static int request(struct net_helper *h, const char *text, int64_t deadline_ns,
		   struct mvm_error *err)
{
	json_decref(h->reply);
	h->reply = NULL;
	if (!h->ended && send(h->control_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		lose(h, NET_HELPER_PROGRAM " takes no orders");
	h->is_asked = !h->ended;
	h->n_unasked = 0;
	if (h->source)
		loop_source_set_events(h->source, EPOLLIN);
	int r = wait_reply(h, deadline_ns, err);
	if (r == -ETIMEDOUT && h->is_up)
		lose(h, NET_HELPER_PROGRAM " does not answer");
	return r;
}

int net_helper_ready(struct net_helper *h, int64_t deadline_ns, struct mvm_error *err)
{
	int r = wait_reply(h, deadline_ns, err);
	h->is_up = r == 0;
	return r;
}

int net_helper_forward(struct net_helper *h, const struct vmm_forward *f, int64_t deadline_ns,
		       struct mvm_error *err)
{
	json_t *forward = forward_json(f);
	AUTO_JSON json_t *message = forward ? json_pack("{s:o}", "forward", forward) : NULL;
	AUTO_FREE char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	return text ? request(h, text, deadline_ns, err) : mvm_error_oom(err);
}

int net_helper_policy(struct net_helper *h, const struct vmm_network *n, int64_t deadline_ns,
		      struct mvm_error *err)
{
	AUTO_JSON json_t *message = json_pack("{s:o, s:o}", "allow",
					      json_strings(n->allow, n->n_allow), "deny",
					      json_strings(n->deny, n->n_deny));
	if (message && n->n_dns > 0)
		json_object_set_new(message, "dns", json_strings(n->dns, n->n_dns));
	AUTO_FREE char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	if (!text)
		return mvm_error_oom(err);
	int r = h->is_returning ? -EPIPE : request(h, text, deadline_ns, err);
	if (r == 0 || !h->is_returning)
		return r;
	free(h->kept);
	h->kept = TAKE_PTR(text);
	return 0;
}

void net_helper_done(struct net_helper *h)
{
	loop_source_free(TAKE_PTR(h->source));
	loop_source_free(TAKE_PTR(h->pause));
	loop_source_free(TAKE_PTR(h->again));
	auto_close(&h->control_fd);
	json_decref(h->reply);
	free(h->kept);
	*h = (struct net_helper)NET_HELPER_NONE;
}
