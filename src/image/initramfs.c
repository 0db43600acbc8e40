/* SPDX-License-Identifier: Apache-2.0 */
#include "image/initramfs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/module.h"

#define PART_MAX    ((size_t)64 << 20)
#define ORDER_MAX   65536u
#define MODULES_DIR "lib/modules/mvm"
#define TRAILER	    "TRAILER!!!"

struct cpio {
	int fd;
	uint32_t ino; /* the last inode number that was given */
	struct mvm_error *err;
};

struct entry {
	const char *path;
	uint32_t mode;
	uint32_t major, minor; /* devices */
	const void *data;
	size_t len;
};

static int write_all(struct cpio *c, const void *data, size_t len)
{
	int r = file_write_all(c->fd, data, len);
	return r < 0 ? mvm_error_set(c->err, r, "cannot write the initramfs: %s", strerror(-r)) : 0;
}

/* Pad the header with its name, or the data, to a multiple of four bytes. */
static int pad(struct cpio *c, size_t len)
{
	static const char zeros[3];
	return write_all(c, zeros, (4 - len % 4) % 4);
}

static int add(struct cpio *c, const struct entry *e)
{
	size_t name_size = strlen(e->path) + 1;
	char header[111];

	int n = snprintf(header, sizeof(header),
			 "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++c->ino,
			 e->mode, 0u, 0u, S_ISDIR(e->mode) ? 2u : 1u, 0u, (unsigned)e->len, 0u, 0u,
			 e->major, e->minor, (unsigned)name_size, 0u);
	int r = write_all(c, header, (size_t)n);
	if (r == 0)
		r = write_all(c, e->path, name_size);
	if (r == 0)
		r = pad(c, (size_t)n + name_size);
	if (r == 0 && e->len)
		r = write_all(c, e->data, e->len);
	return r == 0 ? pad(c, e->len) : r;
}

static int add_frame(struct cpio *c)
{
	static const struct entry entries[] = {
		{ .path = "dev", .mode = S_IFDIR | 0755 },
		{ .path = "dev/console", .mode = S_IFCHR | 0600, .major = 5, .minor = 1 },
		{ .path = "newroot", .mode = S_IFDIR | 0755 },
		{ .path = "proc", .mode = S_IFDIR | 0755 },
		{ .path = "run", .mode = S_IFDIR | 0755 },
		{ .path = "sys", .mode = S_IFDIR | 0755 },
	};
	int r = 0;
	for (size_t i = 0; r == 0 && i < MVM_ARRAY_SIZE(entries); i++)
		r = add(c, &entries[i]);
	return r;
}

static int add_agent(struct cpio *c, int agent_fd)
{
	AUTO_FREE char *data = NULL;
	struct entry e = { .path = "init", .mode = S_IFREG | 0755 };

	int r = lseek(agent_fd, 0, SEEK_SET) < 0 ? -errno
						 : file_read_fd(agent_fd, PART_MAX, &data, &e.len);
	if (r < 0)
		return mvm_error_set(c->err, r, "cannot read the guest agent: %s", strerror(-r));
	e.data = data;
	return add(c, &e);
}

static int add_module(struct cpio *c, int modules_fd, const char *name)
{
	char path[sizeof(MODULES_DIR) + MODULE_NAME_SIZE + 8];
	AUTO_FREE char *data = NULL;
	struct entry e = { .path = path, .mode = S_IFREG | 0644 };

	if (strchr(name, '/') || !module_is_path(name) ||
	    (size_t)snprintf(path, sizeof(path), MODULES_DIR "/%s", name) >= sizeof(path))
		return mvm_error_set(c->err, -EBADMSG,
				     "'modules/order' names '%s', which is no "
				     "module",
				     name);
	int r = file_read_at(modules_fd, name, PART_MAX, &data, &e.len);
	if (r < 0)
		return mvm_error_set(c->err, r, "cannot read the module '%s': %s", name,
				     strerror(-r));
	e.data = data;
	return add(c, &e);
}

static int add_modules(struct cpio *c, int modules_fd)
{
	static const struct entry folders[] = {
		{ .path = "lib", .mode = S_IFDIR | 0755 },
		{ .path = "lib/modules", .mode = S_IFDIR | 0755 },
		{ .path = MODULES_DIR, .mode = S_IFDIR | 0755 },
	};
	AUTO_FREE char *order = NULL;
	struct entry e = { .path = MODULES_DIR "/order", .mode = S_IFREG | 0644 };

	int r = file_read_at(modules_fd, "order", ORDER_MAX, &order, &e.len);
	if (r < 0)
		return mvm_error_set(c->err, r, "cannot read 'modules/order': %s", strerror(-r));
	for (size_t i = 0; r == 0 && i < MVM_ARRAY_SIZE(folders); i++)
		r = add(c, &folders[i]);
	e.data = order;
	if (r == 0)
		r = add(c, &e);
	for (char *line = order, *end; r == 0 && *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		r = add_module(c, modules_fd, line);
	}
	return r;
}

int initramfs_write(int out_fd, int agent_fd, int modules_fd, struct mvm_error *err)
{
	static const struct entry trailer = { .path = TRAILER };
	struct cpio c = { .fd = out_fd, .err = err };

	int r = add_frame(&c);
	if (r == 0)
		r = add_agent(&c, agent_fd);
	if (r == 0 && modules_fd >= 0)
		r = add_modules(&c, modules_fd);
	return r == 0 ? add(&c, &trailer) : r;
}
