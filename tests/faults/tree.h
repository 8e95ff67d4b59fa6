/* tree.h - a directory as a list of files in memory, to be put on disk again as often as needed. */
#ifndef TARN_TESTS_FAULTS_TREE_H
#define TARN_TESTS_FAULTS_TREE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct fault_file {
    char *path; /* relative */
    const uint8_t *data;
    int64_t bytes;
    int identity; /* files of the same identity are hard links of one another; -1: a folder */
} fault_file;

typedef struct fault_tree {
    fault_file *files; /* folders before what is in them */
    int count, capacity;
} fault_tree;

/* Adds a file; path is copied, data is borrowed. */
void fault_tree_add(fault_tree *tree, const char *path, const uint8_t *data, int64_t bytes, int identity);
/* Reads a directory with all that is in it; the data of each file is new memory. */
fault_tree fault_tree_read(const char *directory);
/* Makes `directory` hold exactly that. False with errno. */
bool fault_tree_put(const fault_tree *tree, const char *directory);
/* Frees the list; with_data: also what the files hold. */
void fault_tree_free(fault_tree *tree, bool with_data);

#endif
