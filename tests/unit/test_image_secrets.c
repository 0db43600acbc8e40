/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of a build on keys, credentials and servers in an image. */
#include "image_util.h"

#include <mvm/build.h>
#include <stdlib.h>

#include "base/str.h"
#include "image/image.h"
#include "image/look.h"
#include "template/image_secrets.h"

static int take_note(void *arg, const struct mvm_progress_event *event)
{
	strbuf_addf(arg, "%s\n", event->text);
	return 0;
}

static void put(const char *path, const char *text)
{
	AUTO_FREE char *folders = strdup(path);
	for (char *at = folders; (at = strchr(at, '/')); *at++ = '/') {
		*at = '\0';
		assert_true(mkdirat(work_fd, folders, 0755) == 0 || errno == EEXIST);
	}
	AUTO_CLOSE int fd = openat(work_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
}

/* Make an image of the folder "root". */
static int make_image(void)
{
	AUTO_CLOSE int dir = dir_open_at(work_fd, "root");
	int fd = openat(work_fd, "image", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(image_from_dir(dir, "root", fd, NULL, NULL, NULL), 0);
	return fd;
}

/* The notes of a build; with `captured`, those of a snapshot of a revision with these settings. */
static void assert_notes(int image, const struct mvm_run *captured, const char *const *words)
{
	AUTO_DONE(strbuf) notes = { 0 };
	struct mvm_progress progress = MVM_PROGRESS_INIT;
	size_t lines = 0, n = 0;
	progress.fn = take_note;
	progress.arg = &notes;
	if (captured)
		image_servers_note(image, "web", captured, &progress);
	else
		image_secrets_note(image, "web", &progress);
	for (; words[n]; n++) {
		if (!notes.data || !strstr(notes.data, words[n]))
			fail_msg("no '%s' in: %s", words[n], notes.data ? notes.data : "");
	}
	for (const char *at = notes.data; at && (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, n);
}

static void keys_and_credentials_are_named(void **state)
{
	(void)state;
	static const char *const words[] = {
		"web: the image has the secret '/etc/ssh/ssh_host_ed25519_key'",
		"'/etc/ssl/private/a.key'",
		"'/var/lib/systemd/random-seed'",
		NULL,
	};
	put("root/etc/ssh/ssh_host_ed25519_key", "k");
	put("root/etc/ssh/ssh_host_ed25519_key.pub", "k");
	put("root/etc/ssl/private/a.key", "k");
	put("root/etc/ssl/private/empty.key", "");
	put("root/srv/systemd/random-seed", "s");
	assert_int_equal(mkdirat(work_fd, "root/var", 0755), 0);
	assert_int_equal(symlinkat("../srv", work_fd, "root/var/lib"), 0);
	AUTO_CLOSE int image = make_image();
	assert_notes(image, NULL, words);
}

static void a_server_is_named_when_it_would_be_captured_running(void **state)
{
	(void)state;
	static const char *const none[] = { NULL };
	static const char *const words[] = { "web: the image has the server '/usr/sbin/nginx'",
					     "web: the image has the server '/usr/sbin/sshd'",
					     NULL };
	static char restart[] = "restart";
	put("root/usr/sbin/nginx", "x");
	put("root/usr/sbin/sshd", "x");
	AUTO_CLOSE int image = make_image();
	assert_notes(image, &(struct mvm_run){ 0 }, words);
	assert_notes(image, NULL, none);
	assert_notes(image, &(struct mvm_run){ .snapshot_point = MVM_POINT_BOOT }, none);
	assert_notes(image, &(struct mvm_run){ .restore_action = restart }, none);
}

static void files_that_are_no_image_are_ignored(void **state)
{
	(void)state;
	static const char *const none[] = { NULL }, *const any[] = { "/*" };
	put("image", "not a file system");
	AUTO_CLOSE int fd = openat(work_fd, "image", O_RDONLY | O_CLOEXEC);
	assert_notes(fd, NULL, none);
	assert_int_equal(image_look(fd, any, 1, NULL, NULL, NULL), -EBADMSG);
}

#define test(name) cmocka_unit_test_setup_teardown(name, make_work_folder, remove_work_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(keys_and_credentials_are_named),
		test(a_server_is_named_when_it_would_be_captured_running),
		test(files_that_are_no_image_are_ignored),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
