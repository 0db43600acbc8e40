/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_WARDEN_CELL_H
#define TESTS_UNIT_WARDEN_CELL_H

/* A warden in a world of its own (supervisor_world.h), and questions to it as a supervisor that a
 * guest has taken over puts them.  Include it after cmocka. */

#include "supervisor/warden_ask.h"
#include "supervisor_world.h"

struct cell {
	struct world *world;
	struct supervisor_given given;
	struct warden warden;
	struct warden_link link;
};

static inline void copy_record(const struct record *from, struct record *ret)
{
	struct mvm_error err = { 0 };
	AUTO_FREE char *json = record_to_json(from);
	assert_non_null(json);
	if (record_parse(json, strlen(json), ret, &err) < 0)
		fail_msg("%s", err.text);
}

static inline int setup(void **state)
{
	void *world = NULL;
	struct cell *c = calloc(1, sizeof(*c));
	assert_non_null(c);
	assert_int_equal(world_setup(&world), 0);
	struct world *x = c->world = world;
	x->record.volumes[0] = (struct record_volume){ .host = strdup("/srv/data"),
						       .guest = strdup("/data"),
						       .write_back = true };
	x->record.n_volumes = 1;
	assert_int_equal(instance_folder_make(x->instances_fd, &x->record, &x->folder), 0);
	for (int fd = 0; fd < SUPERVISOR_FD_END; fd++)
		c->given.fd[fd] = -1;
	c->given.fd[SUPERVISOR_FD_INSTANCE] = x->folder.dir_fd;
	c->given.fd[SUPERVISOR_FD_LOGS] = x->logs_fd;
	c->warden = (struct warden){ .given = &c->given,
				     .ops = &scripted_vmm,
				     .theirs = { -1, -1 },
				     .memory_dir_fd = -1,
				     .saving = WARDEN_SAVING_NONE,
				     .saved_dir_fd = -1 };
	copy_record(&x->record, &c->warden.record);
	c->link = (struct warden_link){ .fd = -1, .here = &c->warden };
	*state = c;
	return 0;
}

static inline int teardown(void **state)
{
	struct cell *c = *state;
	void *world = c->world;
	warden_done(&c->warden);
	free(c);
	return world_teardown(&world);
}

/* Put a question, and return the answer's code. */
static inline int put(struct cell *c, int what, const struct strbuf *fields)
{
	AUTO_DONE(line_message) reply = { 0 };
	struct line_message m = { .what = what };
	if (fields)
		m.fields = *fields;
	warden_answer(&c->warden, &m, &reply);
	return reply.what;
}

static inline int put_number(struct cell *c, int what, uint64_t number)
{
	AUTO_DONE(strbuf) fields = { 0 };
	wire_put_u64(&fields, TAG_NUMBER, number);
	return put(c, what, &fields);
}

static inline void end_body(struct vmm_body *b)
{
	if (!b)
		return;
	process_kill(&b->process);
	free(b);
}

static struct vmm_ops with_body;

/* A VMM that lives in a process of its own. */
static inline pid_t give_body(struct cell *c)
{
	with_body = scripted_vmm;
	with_body.end = end_body;
	c->warden.ops = &with_body;
	c->warden.body = calloc(1, sizeof(*c->warden.body));
	assert_non_null(c->warden.body);
	assert_int_equal(process_fork(&c->warden.body->process), 0);
	if (c->warden.body->process.pid == 0) {
		for (;;)
			pause();
	}
	warden_note_vmm(&c->warden, c->warden.body->process.pid, 0);
	return c->warden.body->process.pid;
}

#define IN_A_CELL(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
