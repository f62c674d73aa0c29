//! Class 9, script table (version 0): sequences of writes and method calls that other objects start.

use super::class::{Items, class, structure};
use super::credit::wire_enum;
use super::{FromData, bad_value};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::obis::Obis;

wire_enum! {
    /// What an action of a script does.
    ScriptService {
        /// Writes an attribute.
        WriteAttribute = 1,
        /// Invokes a method.
        ExecuteMethod = 2,
    }
}

structure! {
    /// One action of a script.
    ScriptAction<'a> {
        /// What it does.
        service_id: ScriptService,
        /// Class of the object.
        class_id: u16,
        /// Its logical name.
        logical_name: Obis,
        /// Index of the attribute or method.
        index: i8,
        /// The value or the parameter.
        parameter: Data<'a>,
    }
}

structure! {
    /// A script.
    Script<'a> {
        /// Its number, from 1; 0 is reserved.
        script_identifier: u16,
        /// What it does, in order.
        actions: Items<'a, ScriptAction<'a>>,
    }
}

structure! {
    /// A script that another object starts: `script_action`, `executed_script` and `action_item` of other classes.
    ScriptReference {
        /// The script table.
        script_logical_name: Obis,
        /// The script; 0 is none.
        script_selector: u16,
    }
}

class! {
    /// Script table.
    ScriptTable = 9, version 0;
    attributes {
        /// The scripts.
        2 SCRIPTS: [Script<'static>], scripts;
    }
    methods {
        /// Runs the script of that number.
        1 EXECUTE: (u16), execute;
    }
}
