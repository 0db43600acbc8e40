/* SPDX-License-Identifier: Apache-2.0 */
#include "image_util.h"

#include <archive.h>
#include <archive_entry.h>

#include "image/initramfs.h"

static int write_initramfs(const char *name, int modules_fd, struct mvm_error *err)
{
	AUTO_CLOSE int out = open_image(name);
	AUTO_CLOSE int agent = openat(work_fd, "agent", O_RDONLY | O_CLOEXEC);
	assert_true(agent >= 0);
	return initramfs_write(out, agent, modules_fd, err);
}

static void make_parts(void)
{
	if (mkdirat(work_fd, "modules", 0755) < 0)
		assert_int_equal(errno, EEXIST);
	put_text("agent", "#!agent", 0700);
	put_text("modules/virtio.ko", "module one", 0600);
	put_text("modules/overlay.ko", "two", 0600);
	put_text("modules/order", "virtio.ko\noverlay.ko\n", 0600);
}

static void the_archive_holds_agent_modules_folders_and_console(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		mode_t mode;
		const char *text;
	} entries[] = {
		{ "dev", AE_IFDIR | 0755, NULL },
		{ "dev/console", AE_IFCHR | 0600, NULL },
		{ "newroot", AE_IFDIR | 0755, NULL },
		{ "proc", AE_IFDIR | 0755, NULL },
		{ "run", AE_IFDIR | 0755, NULL },
		{ "sys", AE_IFDIR | 0755, NULL },
		{ "init", AE_IFREG | 0755, "#!agent" },
		{ "lib", AE_IFDIR | 0755, NULL },
		{ "lib/modules", AE_IFDIR | 0755, NULL },
		{ "lib/modules/mvm", AE_IFDIR | 0755, NULL },
		{ "lib/modules/mvm/order", AE_IFREG | 0644, "virtio.ko\noverlay.ko\n" },
		{ "lib/modules/mvm/virtio.ko", AE_IFREG | 0644, "module one" },
		{ "lib/modules/mvm/overlay.ko", AE_IFREG | 0644, "two" },
	};
	struct archive_entry *e;
	char text[64];

	make_parts();
	AUTO_CLOSE int modules = dir_open_at(work_fd, "modules");
	assert_int_equal(write_initramfs("initrd", modules, NULL), 0);

	AUTO_CLOSE int fd = openat(work_fd, "initrd", O_RDONLY | O_CLOEXEC);
	struct archive *a = archive_read_new();
	assert_int_equal(archive_read_support_format_cpio(a), ARCHIVE_OK);
	assert_int_equal(archive_read_open_fd(a, fd, 4096), ARCHIVE_OK);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(entries); i++) {
		assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
		assert_string_equal(archive_entry_pathname(e), entries[i].path);
		assert_int_equal(archive_entry_mode(e), entries[i].mode);
		assert_int_equal(archive_entry_uid(e), 0);
		assert_int_equal(archive_entry_mtime(e), 0);
		assert_int_equal(archive_entry_ino(e), i + 1);
		memset(text, 0, sizeof(text));
		if (entries[i].text) {
			assert_true(archive_read_data(a, text, sizeof(text)) >= 0);
			assert_string_equal(text, entries[i].text);
		}
		if (AE_IFCHR == archive_entry_filetype(e)) {
			assert_int_equal(archive_entry_rdevmajor(e), 5);
			assert_int_equal(archive_entry_rdevminor(e), 1);
		}
	}
	assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_EOF);
	assert_int_equal(archive_read_free(a), ARCHIVE_OK);
}

static void the_same_parts_give_the_same_bytes(void **state)
{
	(void)state;
	make_parts();
	AUTO_CLOSE int modules = dir_open_at(work_fd, "modules");
	assert_int_equal(write_initramfs("one", modules, NULL), 0);
	make_parts();
	assert_int_equal(write_initramfs("two", modules, NULL), 0);
	assert_same_files("one", "two");
	assert_int_equal(write_initramfs("bare", -1, NULL), 0);
}

static void an_order_that_is_wrong_is_refused(void **state)
{
	(void)state;
	struct mvm_error err = { 0 };

	make_parts();
	AUTO_CLOSE int modules = dir_open_at(work_fd, "modules");
	put_text("modules/order", "../agent.ko\n", 0600);
	assert_int_equal(write_initramfs("bad", modules, &err), -EBADMSG);
	put_text("modules/order", "order\n", 0600);
	assert_int_equal(write_initramfs("bad", modules, &err), -EBADMSG);
	put_text("modules/order", "gone.ko\n", 0600);
	assert_int_equal(write_initramfs("bad", modules, &err), -ENOENT);
	assert_string_equal(err.text,
			    "cannot read the module 'gone.ko': No such file or directory");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_archive_holds_agent_modules_folders_and_console),
		cmocka_unit_test(the_same_parts_give_the_same_bytes),
		cmocka_unit_test(an_order_that_is_wrong_is_refused),
	};
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}
