/* SPDX-License-Identifier: Apache-2.0 */
#include "template/holder.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/own.h"
#include "instance/instance.h"
#include "start/context.h"

char *holder_find(struct mvm *mvm, const char *id, const char *revision)
{
	AUTO_DONE(strv) names = { 0 };
	if (store_dir_names(mvm->store, STORE_INSTANCES, &names, NULL) < 0)
		return NULL; /* there are no instances */
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	for (size_t i = 0; i < names.n; i++) {
		AUTO_DONE(record) rec = { 0 };
		if (instance_load(fd, names.v[i], &rec, NULL, NULL) == 0 &&
		    rec.state == RECORD_SUSPENDED && str_eq(rec.template_id, id) &&
		    (!revision || str_eq(rec.revision, revision)))
			return strdup(rec.name);
	}
	return NULL;
}

int holder_check(struct mvm *mvm, const char *id, const char *revision, struct mvm_error *err)
{
	AUTO_FREE char *holder = holder_find(mvm, id, revision);
	if (!holder)
		return 0;
	int r = mvm_error_set(err, -EBUSY, "instance '%s' is suspended and needs it to go on",
			      holder);
	return mvm_error_reason(err, r, "instance-in-the-way", holder);
}

int holder_publish(struct mvm *mvm, struct staging *st, const char *id, const char *revision,
		   struct mvm_error *err)
{
	int r = holder_check(mvm, id, revision, err);
	return r < 0 ? r : store_revision_publish(mvm->store, st, id, revision, err);
}
