/* tree.c - see tree.h. */
#include "tests/faults/tree.h"
#include "tests/support.h"

#include <fcntl.h>

void fault_tree_add(fault_tree *tree, const char *path, const uint8_t *data, int64_t bytes, int identity)
{
    if (tree->count == tree->capacity) {
        tree->capacity = tree->capacity ? 2 * tree->capacity : 8;
        tree->files = realloc(tree->files, (size_t)tree->capacity * sizeof *tree->files);
    }
    tree->files[tree->count++] = (fault_file){strdup(path), data, bytes, identity};
}

static void read_below(fault_tree *tree, const char *directory, const char *prefix, ino_t *inodes)
{
    char *folder_path = tarn_test_format("%s/%s", directory, prefix);
    DIR *folder = opendir(folder_path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *name = tarn_test_format("%s%s%s", prefix, prefix[0] ? "/" : "", entry->d_name);
        char *path = tarn_test_format("%s/%s", directory, name);
        struct stat info;
        if (!lstat(path, &info) && S_ISDIR(info.st_mode)) {
            fault_tree_add(tree, name, NULL, 0, -1);
            read_below(tree, directory, name, inodes);
        } else {
            size_t bytes = 0;
            char *data = tarn_test_read(path, &bytes);
            int identity = tree->count;
            for (int i = 0; i < tree->count && i < 256; i++)
                if (tree->files[i].identity == i && inodes[i] == info.st_ino) identity = i;
            if (tree->count < 256) inodes[tree->count] = info.st_ino;
            fault_tree_add(tree, name, (uint8_t *)data, (int64_t)bytes, identity);
        }
        free(path);
        free(name);
    }
    if (folder) closedir(folder);
    free(folder_path);
}

fault_tree fault_tree_read(const char *directory)
{
    fault_tree tree = {0};
    ino_t inodes[256] = {0};
    read_below(&tree, directory, "", inodes);
    return tree;
}

bool fault_tree_put(const fault_tree *tree, const char *directory)
{
    tarn_test_remove(directory);
    if (mkdir(directory, 0755)) return false;
    bool done = true;
    for (int i = 0; done && i < tree->count; i++) {
        const fault_file *file = &tree->files[i];
        char *path = tarn_test_format("%s/%s", directory, file->path);
        const fault_file *first = NULL;
        for (int k = 0; k < i && !first && file->identity >= 0; k++)
            if (tree->files[k].identity == file->identity) first = &tree->files[k];
        if (file->identity < 0) {
            done = !mkdir(path, 0755);
        } else if (first) {
            char *source = tarn_test_format("%s/%s", directory, first->path);
            done = !link(source, path);
            free(source);
        } else {
            int out = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
            done = out >= 0 && write(out, file->data, (size_t)file->bytes) == (ssize_t)file->bytes;
            if (out >= 0) close(out);
        }
        free(path);
    }
    return done;
}

void fault_tree_free(fault_tree *tree, bool with_data)
{
    for (int i = 0; i < tree->count; i++) {
        free(tree->files[i].path);
        if (with_data) free((void *)tree->files[i].data);
    }
    free(tree->files);
    *tree = (fault_tree){0};
}
