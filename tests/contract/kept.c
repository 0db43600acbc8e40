/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "subject.h"

static void need_keeping(void)
{
	need_backend();
	if (B.ops->save_pages)
		return;
	assert_null(B.ops->load_pages);
	print_message("skipped: %s keeps no state of VMs that run\n", B.ops->name);
	skip();
}

static int64_t pause_and_keep(struct machine *m, const char *folder)
{
	struct mvm_error err = { 0 };
	ok(vmm_pause(m->vmm, soon(), &err), &err);
	int64_t n = keep(m, folder, &err);
	ok((int)n, &err);
	assert_true(n > 0);
	return n;
}

static void forget(const char *folder)
{
	assert_int_equal(tree_remove_at(B.dir_fd, folder), 0);
}

void a_suspended_clone_goes_on_in_another_vmm(void **state)
{
	(void)state;
	need_keeping();
	struct machine m;
	struct mvm_error err = { 0 };
	start_clone(&m);
	expect(&m, "count\n", "count 2");
	/* twice, as what was continued can be suspended again */
	for (int i = 0; i < 2; i++) {
		pause_and_keep(&m, "kept");
		drop(&m);
		nothing_is_left_running();
		ok(go_on_from(&m, "kept", &err), &err);
		expect(&m, "nonce\n", B.nonce);
		expect(&m, "count\n", i ? "count 4" : "count 3");
		expect(&m, "disk\n", "disk MVMDISK");
		forget("kept");
	}
	drop(&m);
	nothing_is_left_running();
}

void forks_go_on_beside_their_origin(void **state)
{
	(void)state;
	need_keeping();
	struct machine m, forks[2], last;
	struct mvm_error err = { 0 };
	struct mvm_digest before, after;
	digest_memory(&before);
	start_clone(&m);
	expect(&m, "count\n", "count 2");
	int64_t n = pause_and_keep(&m, "kept");
	ok(vmm_resume(m.vmm, soon(), &err), &err);
	for (size_t i = 0; i < 2; i++)
		ok(go_on_from(&forks[i], "kept", &err), &err);
	expect(&m, "count\n", "count 3");
	expect(&m, "count\n", "count 4");
	for (size_t i = 0; i < 2; i++)
		expect(&forks[i], "count\n", "count 3");
	/* a fork of a fork differs from the same memory, so it is not larger by what both share */
	int64_t deeper = pause_and_keep(&forks[0], "deeper");
	assert_in_range(deeper, 1, 2 * n);
	ok(go_on_from(&last, "deeper", &err), &err);
	expect(&last, "count\n", "count 4");
	expect(&forks[1], "count\n", "count 4");
	drop(&last);
	for (size_t i = 0; i < 2; i++)
		drop(&forks[i]);
	expect(&m, "count\n", "count 5");
	drop(&m);
	digest_memory(&after);
	assert_true(digest_equal(&before, &after));
	forget("kept");
	forget("deeper");
	nothing_is_left_running();
}

void damaged_pages_are_refused_and_leave_nothing(void **state)
{
	(void)state;
	need_keeping();
	struct machine m;
	struct mvm_error err = { 0 };
	struct stat st;
	start_clone(&m);
	expect(&m, "count\n", "count 2");
	pause_and_keep(&m, "kept");
	/* the failure is the other one's alone */
	AUTO_CLOSE int dir_fd = dir_open_at(B.dir_fd, "kept");
	AUTO_CLOSE int fd = openat(dir_fd, "pages.bin", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
	struct machine other;
	assert_int_equal(go_on_from(&other, "kept", &err), -EBADMSG);
	drop(&other);
	ok(vmm_resume(m.vmm, soon(), &err), &err);
	expect(&m, "count\n", "count 3");
	drop(&m);
	forget("kept");
	nothing_is_left_running();
}
