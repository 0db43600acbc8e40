/* SPDX-License-Identifier: Apache-2.0 */
/* What QEMU is told when its state is saved or its CPUs are stopped, and that fails. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "vmm/qemu/qemu.h"

/* The control connection: what was sent, and the command that it does not take. */
static struct {
	const char *fails, *hangs;
	char sent[256];
	unsigned n_sent, n_waited;
} line;

int __wrap_qmp_send(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t *ret_id,
		    struct mvm_error *err);
int __wrap_qmp_wait(struct qmp *q, int64_t id, int64_t deadline_ns, json_t **ret,
		    struct mvm_error *err);
int __wrap_qmp_call(struct qmp *q, const char *command, json_t *args, int pass_fd,
		    int64_t deadline_ns, json_t **ret, struct mvm_error *err);
bool __wrap_qmp_is_dead(const struct qmp *q);

int __wrap_qmp_send(struct qmp *q, const char *command, json_t *args, int pass_fd, int64_t *ret_id,
		    struct mvm_error *err)
{
	(void)q;
	assert_int_equal(pass_fd >= 0, strcmp(command, "add-fd") == 0);
	json_decref(args);
	if (line.fails && strcmp(command, line.fails) == 0)
		return mvm_error_set(err, -EBUSY, "too many commands");
	strcat(strcat(line.sent, command), " ");
	*ret_id = ++line.n_sent;
	return 0;
}

int __wrap_qmp_wait(struct qmp *q, int64_t id, int64_t deadline_ns, json_t **ret,
		    struct mvm_error *err)
{
	(void)q;
	(void)id;
	(void)deadline_ns;
	(void)ret;
	(void)err;
	line.n_waited++;
	return 0;
}

int __wrap_qmp_call(struct qmp *q, const char *command, json_t *args, int pass_fd,
		    int64_t deadline_ns, json_t **ret, struct mvm_error *err)
{
	int64_t id;
	(void)deadline_ns;
	(void)ret;
	int r = __wrap_qmp_send(q, command, args, pass_fd, &id, err);
	bool hangs = line.hangs && strcmp(command, line.hangs) == 0;
	return hangs ? mvm_error_set(err, -ETIMEDOUT, "QEMU did not answer") : r;
}

bool __wrap_qmp_is_dead(const struct qmp *q)
{
	(void)q;
	return false;
}

static void qemu_keeps_no_file_of_a_state(void **state)
{
	static const struct {
		const char *fails, *sent;
	} cases[] = {
		{ NULL, "add-fd xen-save-devices-state remove-fd " },
		{ "add-fd", "" },
		{ "xen-save-devices-state", "add-fd remove-fd " },
		{ "remove-fd", "add-fd xen-save-devices-state " },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mvm_error err = { 0 };
		struct qemu q = { .vmm = { .state = VMM_PAUSED } };
		memset(&line, 0, sizeof(line));
		line.fails = cases[i].fails;
		int r = qemu_save_devices(&q.vmm, 0, clock_deadline_ns(1000), &err);
		assert_int_equal(r, cases[i].fails ? -EBUSY : 0);
		assert_string_equal(err.text, cases[i].fails ? "too many commands" : "");
		assert_string_equal(line.sent, cases[i].sent);
		assert_int_equal(line.n_waited, line.n_sent); /* no answer stays behind */
	}
}

static void a_qemu_that_stops_too_late_goes_on(void **state)
{
	static const struct {
		const char *fails, *hangs, *sent;
		int r;
	} cases[] = {
		{ NULL, NULL, "stop ", 0 },
		{ "stop", NULL, "", -EBUSY },
		{ NULL, "stop", "stop cont ", -ETIMEDOUT },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mvm_error err = { 0 };
		struct qemu q = { .vmm = { .state = VMM_RUNNING } };
		memset(&line, 0, sizeof(line));
		line.fails = cases[i].fails;
		line.hangs = cases[i].hangs;
		assert_int_equal(vmm_qemu.pause(&q.vmm, clock_deadline_ns(1000), &err), cases[i].r);
		assert_string_equal(line.sent, cases[i].sent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(qemu_keeps_no_file_of_a_state),
		cmocka_unit_test(a_qemu_that_stops_too_late_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
