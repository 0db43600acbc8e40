/* SPDX-License-Identifier: Apache-2.0 */
#include "base/extend.h"

#include <string.h>

#include "base/error.h"
#include "base/str.h"

static size_t stated_size(const void *p, size_t first_size)
{
	size_t size;
	memcpy(&size, p, sizeof(size));
	return size ? size : first_size;
}

int mvm_struct_take(void *dst, size_t dst_size, size_t first_size, const void *src,
		    struct mvm_error *err)
{
	size_t size = src ? stated_size(src, first_size) : 0;

	if (src && (size < first_size || size > STRUCT_SIZE_MAX))
		return mvm_error_set(err, -EINVAL,
				     "no struct has the size %zu: initialise it with its _INIT",
				     size);
	if (size > dst_size && !mem_is_zero((const char *)src + dst_size, size - dst_size))
		return mvm_error_set(err, -EOPNOTSUPP,
				     "the program was compiled for a newer libmvm and uses an "
				     "option that this one does not have");
	memset(dst, 0, dst_size);
	if (src)
		memcpy(dst, src, size < dst_size ? size : dst_size);
	memcpy(dst, &dst_size, sizeof(dst_size));
	return 0;
}

void mvm_struct_give(void *dst, size_t first_size, const void *src, size_t src_size)
{
	const size_t head = sizeof(size_t);
	size_t size = stated_size(dst, first_size);

	if (size < first_size || size > STRUCT_SIZE_MAX)
		size = first_size;
	size_t known = size < src_size ? size : src_size;
	memcpy((char *)dst + head, (const char *)src + head, known - head);
	memset((char *)dst + known, 0, size - known);
}
