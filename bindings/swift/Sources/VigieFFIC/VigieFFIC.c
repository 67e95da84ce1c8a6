// The package manager wants a source file where there is a header; the functions are in the library.
#include "VigieFFIC.h"
