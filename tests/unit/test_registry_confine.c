/* SPDX-License-Identifier: Apache-2.0 */
/* What mvm-registry can open once it is shut in, on a kernel without Landlock. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "base/syscalls.h"
#include "registry/confine.h"

int __wrap_landlock_version(void);

int __wrap_landlock_version(void)
{
	return 0;
}

static int try_files(const char *path)
{
	struct mvm_error err = { 0 };
	if (registry_confine(&err) < 0)
		return 2;
	if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
		return 3;
	if (open("/dev/null", O_WRONLY | O_CLOEXEC) >= 0 || errno != EACCES)
		return 4;
	return open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EACCES ? 5 : 0;
}

static void without_landlock_no_file_is_written(void **state)
{
	(void)state;
	char folder[] = "/tmp/mvm-unit-XXXXXX", path[sizeof(folder) + 4];
	int status = -1;
	if (!SYSCALLS_FILTER_SELF)
		skip();
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/new", folder);
	pid_t pid = fork();
	if (pid == 0)
		_exit(try_files(path));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	unlink(path);
	rmdir(folder);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_landlock_no_file_is_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
