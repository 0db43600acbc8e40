/* SPDX-License-Identifier: Apache-2.0 */
/* What a supervisor that a guest has taken over gets of its VMM's body
 * (src/supervisor/warden_body.c). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "warden_cell.h"

static unsigned n_moved, n_opened, n_halted;
static bool moved_to_store, was_halted;
static int moved_dir_fd;
static char rules_set[64], dns_set[64];

static int body_connect(struct vmm_body *b)
{
	(void)b;
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int body_halt(struct vmm_body *b, enum vmm_halt how)
{
	(void)b;
	n_halted++;
	was_halted = how == VMM_HALT_PAUSE;
	return 0;
}

static int body_move_state(struct vmm_body *b, int dir_fd, bool store, struct mvm_error *err)
{
	(void)b;
	(void)err;
	n_moved++;
	moved_dir_fd = dir_fd;
	moved_to_store = store;
	return 0;
}

static int body_open_port(struct vmm_body *b, const struct vmm_forward *f, struct mvm_error *err)
{
	(void)b;
	(void)err;
	assert_int_equal(f->host_port, 8080);
	n_opened++;
	return 0;
}

static int body_set_rules(struct vmm_body *b, const struct vmm_network *rules,
			  struct mvm_error *err)
{
	(void)b;
	(void)err;
	snprintf(rules_set, sizeof(rules_set), "%zu %zu %s", rules->n_allow, rules->n_deny,
		 rules->n_deny ? rules->deny[0] : "");
	snprintf(dns_set, sizeof(dns_set), "%s", rules->n_dns ? rules->dns[0] : "");
	return 0;
}

static int open_port(struct cell *c, const struct vmm_forward *forward)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_bytes(&fields, TAG_FORWARDS, forward, sizeof(*forward));
	return put(c, ASK_OPEN_PORT, &fields);
}

/* The questions of a backend such as Firecracker's. */
static void a_body_does_what_the_record_allows(void **state)
{
	struct cell *c = *state;
	AUTO_DONE(strbuf) rules = { 0 };
	struct vmm_forward forward = { .host_address = "127.0.0.1",
				       .host_port = 8080,
				       .guest_port = 80 };
	assert_int_equal(put(c, ASK_CONNECT, NULL), -ESRCH);
	give_body(c);
	for (int what = ASK_CONNECT; what <= ASK_SET_RULES; what++) /* it can do none of them */
		assert_true(put(c, what, NULL) < 0 || what == ASK_HOST_SWAPS);
	with_body.connect = body_connect;
	with_body.halt = body_halt;
	with_body.move_state = body_move_state;
	with_body.open_port = body_open_port;
	with_body.set_rules = body_set_rules;
	assert_int_equal(put(c, ASK_CONNECT, NULL), 0);
	assert_int_equal(put_number(c, ASK_HALT, 1), 0);
	assert_true(n_halted == 1 && was_halted);

	/* it is neither captured nor restored */
	c->warden.record.purpose = RECORD_FOR_USER;
	c->warden.record.restore = false;
	assert_int_equal(put_number(c, ASK_MOVE_STATE, 0), -EPERM);
	assert_int_equal(put_number(c, ASK_MOVE_STATE, 1), -EPERM);
	c->warden.record.restore = true;
	c->warden.memory_dir_fd = fcntl(c->world->folder.dir_fd, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(put_number(c, ASK_MOVE_STATE, 1), -EPERM);
	assert_int_equal(put_number(c, ASK_MOVE_STATE, 0), 0);
	assert_true(n_moved == 1 && !moved_to_store && moved_dir_fd == c->warden.memory_dir_fd);
	assert_int_equal(put_number(c, ASK_MOVE_STATE, 0), -EPERM); /* once */
	c->warden.record.purpose = RECORD_FOR_CAPTURE;
	c->given.fd[SUPERVISOR_FD_CAPTURE] = c->world->folder.dir_fd;
	assert_int_equal(put_number(c, ASK_MOVE_STATE, 1), 0);
	assert_int_equal(put_number(c, ASK_MOVE_STATE, 1), -EPERM);
	assert_true(n_moved == 2 && moved_to_store);
	c->given.fd[SUPERVISOR_FD_CAPTURE] = -1;
	c->warden.record.purpose = RECORD_FOR_USER;

	/* no port but those of whoever takes it from a pool */
	assert_int_equal(open_port(c, &forward), -EPERM);
	c->warden.wanted.name = strdup("mine");
	c->warden.wanted.n_forwards = 1;
	c->warden.ports.inner[0] = forward;
	forward.host_port = 22;
	assert_int_equal(open_port(c, &forward), -EPERM);
	forward.host_port = 8080;
	memset(forward.host_address, '1', sizeof(forward.host_address)); /* without an end */
	assert_int_equal(open_port(c, &forward), -EPERM);
	assert_int_equal(open_port(c, &c->warden.ports.inner[0]), 0);
	assert_int_equal(n_opened, 1);
	((unsigned char *)&forward)[offsetof(struct vmm_forward, udp)] = 2;
	assert_int_equal(open_port(c, &forward), -EPROTO);

	/* rules come from a client; name servers do not */
	strv_add(&c->warden.wanted.network_dns, "192.0.2.53");
	wire_put_str(&rules, TAG_DENY, "all");
	wire_put_str(&rules, TAG_NAME_SERVER, "127.0.0.1");
	assert_int_equal(put(c, ASK_SET_RULES, &rules), 0);
	assert_string_equal(rules_set, "0 1 all");
	assert_string_equal(dns_set, "192.0.2.53");
}

static int body_fails(const struct vmm_probe *probe, const struct vmm_config *config,
		      struct loop *loop, struct vmm_body **ret, struct vmm_ends *ret_ends,
		      struct mvm_error *err)
{
	(void)probe;
	(void)config;
	(void)loop;
	(void)ret;
	(void)ret_ends;
	return mvm_error_set(err, -EIO, "no VMM");
}

/* A port of ::1 that is free; 0: this host has no ::1. */
static uint16_t bind_port6(uint16_t port)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6,
				   .sin6_port = htons(port),
				   .sin6_addr = in6addr_loopback };
	socklen_t len = sizeof(at);
	AUTO_CLOSE int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return 0;
	return ntohs(at.sin6_port);
}

static void a_start_that_fails_gives_up_its_ports(void **state)
{
	struct cell *c = *state;
	uint16_t port = bind_port6(0);
	if (port == 0)
		skip();
	assert_int_equal(loop_new(&c->warden.loop), 0);
	with_body = scripted_vmm;
	with_body.end = end_body;
	with_body.start = body_fails;
	c->warden.ops = &with_body;
	c->warden.revision.run.network = MVM_NETWORK_NONE;
	c->warden.record.forwards[0] =
		(struct vmm_forward){ .host_address = "::1", .host_port = port, .guest_port = 80 };
	c->warden.record.n_forwards = 1;
	assert_int_equal(put(c, ASK_START, NULL), -EIO);
	assert_int_equal(c->warden.starts, 1);
	assert_int_equal(c->warden.ports.n, 0);
	assert_int_equal(bind_port6(port), port);
	loop_free(TAKE_PTR(c->warden.loop));
}

int main(void)
{
	const struct CMUnitTest tests[] = { IN_A_CELL(a_body_does_what_the_record_allows),
					    IN_A_CELL(a_start_that_fails_gives_up_its_ports) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
