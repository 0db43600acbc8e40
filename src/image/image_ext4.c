/* SPDX-License-Identifier: Apache-2.0 */
#include "image/image_ext4.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define SUPER_OFFSET 1024
#define SUPER_SIZE   1024u

#define EXT4_MAGIC	0xef53u
#define STATE_CLEAN	0x1u
#define STATE_ERRORS	0x2u
#define INCOMPAT_REPLAY 0x4u /* the journal holds changes */
#define INCOMPAT_64BIT	0x80u

/* The members of the superblock that check() reads. */
struct super {
	uint32_t blocks_low, blocks_high, log_block_size, incompat;
	uint16_t magic, state;
};

static uint32_t get32(const uint8_t *at)
{
	uint32_t v;
	memcpy(&v, at, sizeof(v));
	return le32toh(v);
}

static uint16_t get16(const uint8_t *at)
{
	uint16_t v;
	memcpy(&v, at, sizeof(v));
	return le16toh(v);
}

/* Read the superblock.  Returns 1, 0 when the file is too short for one, or -errno. */
static int read_super(int fd, struct super *ret)
{
	uint8_t block[SUPER_SIZE];

	ssize_t n = pread(fd, block, sizeof(block), SUPER_OFFSET);
	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(block))
		return 0;
	*ret = (struct super){
		.blocks_low = get32(block + 0x4),
		.log_block_size = get32(block + 0x18),
		.magic = get16(block + 0x38),
		.state = get16(block + 0x3a),
		.incompat = get32(block + 0x60),
		.blocks_high = get32(block + 0x150),
	};
	return 1;
}

int image_is_ext4(int fd)
{
	struct super s = { 0 };
	int r = read_super(fd, &s);
	return r < 0 ? r : r && s.magic == EXT4_MAGIC;
}

static int check(int fd, const char *name, struct mvm_error *err)
{
	struct super s = { 0 };
	struct stat st = { 0 };

	int r = fstat(fd, &st) < 0 ? -errno : read_super(fd, &s);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", name, strerror(-r));
	if (r == 0 || s.magic != EXT4_MAGIC || s.log_block_size > 6)
		return mvm_error_set(err, -EINVAL, "'%s' is no ext4 image", name);
	if (!(s.state & STATE_CLEAN) || (s.state & STATE_ERRORS) ||
	    (s.incompat & INCOMPAT_REPLAY)) {
		r = mvm_error_set(err, -EINVAL,
				  "'%s' is not clean: it was not unmounted, or it has errors",
				  name);
		return mvm_error_hint(err, r, "make it with 'mke2fs -d', or run 'e2fsck -f' on it");
	}
	uint64_t blocks = s.blocks_low;
	if (s.incompat & INCOMPAT_64BIT)
		blocks |= (uint64_t)s.blocks_high << 32;
	if (blocks == 0 || blocks > (uint64_t)st.st_size >> (10 + s.log_block_size))
		return mvm_error_set(err, -EINVAL,
				     "'%s' is truncated: its file system is larger than the file",
				     name);
	return 0;
}

int image_copy_ext4(int in_fd, const char *name, int out_fd, struct mvm_error *err)
{
	int r = check(in_fd, name, err);
	if (r < 0)
		return r;
	r = file_copy_fd(in_fd, out_fd);
	return r < 0 ? mvm_error_set(err, r, "cannot copy '%s': %s", name, strerror(-r)) : r;
}
